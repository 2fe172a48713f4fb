"""Two clean runs of the tiny study end in the same bytes."""

import platform
from pathlib import Path

import pytest

from stable_regions.audit.records import load_records
from tests.tiny_study import hashes

TIMED = ("paper.pdf", "manifest.json", "ro-crate-metadata.json", "ro-crate-preview.html")


def test_a_second_clean_run_gives_the_same_bytes(tiny_hashes: dict[str, str], again: Path) -> None:
    """Whatever the number of cores, and in whatever environments of the same packages.

    All but what says when it was made, or what its steps took.
    """
    pythons = {record["versions"]["python"] for record in load_records(again / "logs")}
    if pythons != {platform.python_version()}:  # raw files say what they were made with
        pytest.skip(f"conda's Python is {pythons}, this one {platform.python_version()}")
    made, first = (
        {name: digest for name, digest in whole.items() if Path(name).name not in TIMED}
        for whole in (hashes(again), tiny_hashes)
    )
    assert made == first
