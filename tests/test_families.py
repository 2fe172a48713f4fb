"""The table of families in docs/models.md says what the checks find."""

import pytest

from tests.models import DECODED, FAMILIES, MIXTURES, OTHERS
from tools import families


def test_the_table_has_each_family_once() -> None:
    names = [line.split(" | ")[0].removeprefix("| ") for line in families.written().splitlines()]
    assert names == [families.HEAD[0], "---", *FAMILIES, *OTHERS, *DECODED, *MIXTURES]


@pytest.mark.hub
@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS, *DECODED, *MIXTURES])
def test_the_table_says_what_is_found(family: str) -> None:
    assert families.row(family) in families.written()
