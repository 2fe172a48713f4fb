"""Bad input, by kind: one line with the place, before the work begins, and nothing half-made.

Mistakes that a module's own tests have (`test_config.py` has fifty) are not here again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from stable_regions.base.errors import UserError
from tests.tiny_study import ROOT

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())


def names(line: str, expected: str) -> bool:
    """Whether a line has these parts in this order: the place, then the value that is wrong there.

    Parts stand between bars, as in "experiments.sharpness.pairs | -5"; the prose is left free.
    """
    end = 0
    for part in expected.split(" | "):
        start = line.find(part, end)
        if start < 0:
            return False
        end = start + len(part)
    return True


@contextmanager
def refused(*expected: str) -> Iterator[None]:
    """The block ends in a UserError of one short line that names all of these."""
    with pytest.raises(UserError) as error:
        yield
    line = str(error.value)
    for each in expected:
        assert names(line, each), f"{each!r} is not in {line!r}"
    assert line.isprintable()
    assert len(line) < 900
