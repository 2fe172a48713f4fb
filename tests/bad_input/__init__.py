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


@contextmanager
def refused(*said: str) -> Iterator[None]:
    """The block ends in a UserError of one short line that says all of these."""
    with pytest.raises(UserError) as error:
        yield
    line = str(error.value)
    for part in said:
        assert part in line
    assert line.isprintable()
    assert len(line) < 900
