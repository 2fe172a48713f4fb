"""Runs in one folder lock it; on a disk without locks Snakemake's own lock files do."""

import errno
import fcntl
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stable_regions.audit import run_lock
from tests.tiny_study import command, make_sources

CODES = [errno.ENOLCK, errno.EOPNOTSUPP, errno.EPERM]


def lock_file(folder: Path) -> Path:
    """What a run leaves that is killed."""
    path = folder / run_lock.SNAKEMAKE_LOCKS / "0.output.lock"
    path.parent.mkdir(parents=True)
    path.write_text("resources/corpora/tiny.parquet\n")
    return path


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    left = lock_file(tmp_path)
    run_lock.start_run(tmp_path)()
    assert not left.exists()


@pytest.mark.parametrize("code", CODES)
def test_on_a_disk_without_locks_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    left = lock_file(tmp_path)
    run_lock.start_run(tmp_path)()
    assert left.exists()


@pytest.mark.workflow
def test_on_a_disk_without_locks_a_run_asks_for_unlock(tmp_path: Path) -> None:
    make_sources(tmp_path)
    left = lock_file(tmp_path / ".snakemake")
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def flock(*_):\n"
        "    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = flock\n"
    )
    ends = []
    for more in (["--cores", "1"], ["--unlock"], ["--cores", "1"]):
        done = subprocess.run(
            [*command(tmp_path, *more), "--", "resources/corpora/tiny.parquet"],
            env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        ends.append(done.returncode)
        assert ("--unlock" in done.stderr) == bool(done.returncode)
        assert left.exists() == bool(done.returncode)
    assert ends == [1, 0, 0]
