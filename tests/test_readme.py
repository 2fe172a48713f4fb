"""The README: nothing left to fill in, and every path in it is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_nothing_is_left_to_fill_in() -> None:
    left = set(re.findall(r"\b[A-Z]{2,}_[A-Z]+\b", README)) - {"HF_HOME", "HF_TOKEN", "HF_ENDPOINT"}
    assert not left


def test_links_and_named_files_are_there() -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    named = re.findall(r"`((?:stable_regions|benchmarks|docs|tests|config)/[\w./-]+)`", README)
    assert linked
    assert named
    missing = [path for path in linked + named if not (ROOT / path).exists()]
    assert not missing
