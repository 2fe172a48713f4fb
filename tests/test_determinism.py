"""Two clean runs of the tiny study end in the same bytes."""

import platform
from pathlib import Path

import pytest

from stable_regions.files import sha256
from stable_regions.records import load_records

TIMED = ("paper.pdf", "manifest.json", "ro-crate-metadata.json")


def raw_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every result; not of what says when it was made, or what its steps took."""
    results = folder / "results" / "tiny"
    return {
        str(path.relative_to(results)): sha256(path)
        for path in sorted(results.rglob("*"))
        if path.is_file() and path.name not in TIMED
    }


def test_a_second_clean_run_gives_the_same_bytes(tiny: Path, again: Path) -> None:
    """Whatever the number of cores, and in whatever environments of the same packages."""
    pythons = {record["versions"]["python"] for record in load_records(again / "logs")}
    if pythons != {platform.python_version()}:  # raw files say what they were made with
        pytest.skip(f"conda's Python is {pythons}, this one {platform.python_version()}")
    made, whole = raw_files(again), raw_files(tiny)  # where other tests may have added something
    assert made == {name: whole.get(name) for name in made}
