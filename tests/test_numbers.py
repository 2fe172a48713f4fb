"""No result in a document is typed by hand.

Each is read from `reference/embedded.json`, whose entry stands in a comment right behind it, or it
is in a part of the text (a paragraph, a list, a table, or all of a section) that names the day on
which it was measured.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stable_regions.base.files import read_json
from tests.documents import DOCUMENTS, read
from tests.tiny_study import ROOT

REFERENCE = read_json(ROOT / "reference" / "embedded.json")
ESTIMATES = REFERENCE["estimates"] | {
    f"claims/{claim}/{name}": values
    for claim, held in REFERENCE["claims"].items()
    for name, values in held["estimates"].items()
}
QUOTED = re.compile(r"(-?[\d.]+)\s\[(-?[\d.]+),\s(-?[\d.]+)\]\s<!-- (.+?) -->")
VERDICTS = re.compile(r"Of the (\d+) claims\b([^<]*)<!-- verdicts: (.+?) -->")
DAY = re.compile(r"\b\d{1,2}\s(January|February|March|April|May|June|July|August|September|October"
                 r"|November|December)\s20\d\d\b")  # fmt: skip
# What is a result: a decimal number, or one with a unit of time, of size or of comparison.
RESULT = re.compile(
    r"(?<![\w.-])(\d+\.\d+(?!\.?\w)|\d+ ?(%|times|ms|s|seconds|minutes?|hours?|h|[kMGT]B)(?!\w))"
)
# Numbers of this form that are none: versions, of programs and of formats, and settings.
NONE = re.compile(
    r"(Python|torch|Slurm|version|RO-Crate|profile|VS Code) \d[\d.]*( (to|and) \d[\d.]*)?"
    r"|\[\d+\.\d+\.\d+\]|\d+\.\d+\.\d+|95 % interval|`[^`]*`|\]\([^)]*\)"
)
MADE = {"configuration.md", "architectures.md"}  # by a tool


def parts(text: str) -> Iterator[tuple[str, str]]:
    """Paragraphs, lists and tables, each with the first of its section: without code."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    for section in re.split(r"^#+ ", text, flags=re.M):
        title, _, rest = section.partition("\n")
        pieces = [piece for piece in re.split(r"\n\s*\n", rest) if piece.strip()]
        yield title, ""
        for piece in pieces:
            yield piece, pieces[0]


def results(part: str) -> list[str]:
    """The numbers of a part that are results and have no entry of the reference behind them."""
    bare = NONE.sub("", VERDICTS.sub("", QUOTED.sub("", part)))
    return [result[0] for result in RESULT.findall(bare)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_results_are_of_the_reference_or_have_a_day(document: Path) -> None:
    loose = [
        (number, part[:80])
        for part, first in parts(read(document))
        if document.name not in MADE and not DAY.search(part) and not DAY.search(first)
        for number in results(part)
    ]
    assert not loose


def as_written(value: float, like: str) -> str:
    return f"{value:.{len(like.partition('.')[2])}f}"


def test_what_is_quoted_is_what_the_reference_has() -> None:
    result = [match.groups() for path in DOCUMENTS for match in QUOTED.finditer(read(path))]
    assert len(result) >= 4
    for *written, entry in result:
        values = ESTIMATES[entry]
        assert written == [as_written(*pair) for pair in zip(values, written, strict=True)], entry


def test_the_readme_counts_verdicts_as_the_reference_does() -> None:
    [match] = VERDICTS.finditer(read(ROOT / "README.md"))
    whole, counts = int(match[1]), list(map(int, re.findall(r"\b\d+\b", match[2])))
    verdicts = Counter(claim["verdict"] for claim in REFERENCE["claims"].values())
    assert counts == [verdicts[name] for name in match[3].split(", ")]
    assert whole == sum(counts)
    assert all(name.startswith("not run") for name in verdicts if name not in match[3])


@pytest.mark.parametrize(
    "text", ["It took 47 minutes.", "A median of 3.91.", "It is 15 times cheaper.", "| 1.2 ms |"]
)
def test_a_number_typed_by_hand_is_found(text: str) -> None:
    assert results(text)
    assert not results("Python 3.11 to 3.13, torch 2.13.0, `steps: 0.5`, 20 pairs in 3 studies")
