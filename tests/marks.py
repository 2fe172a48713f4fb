"""What a test's marks say that it needs, and a check that it needs nothing else."""

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import slurm

# Programs that only a test of this mark may start. Conda is started by Snakemake alone.
PROGRAMS = {
    "workflow": {"snakemake"},
    "slurm": {"sbatch", "squeue", "sinfo", "scancel", "eager_slurm.py"},
    "browser": {"chromium", "chromedriver"},
}
MARKS = {*PROGRAMS, "conda", "hub"}
_current: set[str] = set()  # marks of the test that is at work


@cache  # a Slurm that does not answer takes nine seconds
def missing(mark: str) -> str | None:
    """Why tests of a mark cannot run here."""
    if mark == "slurm":
        return slurm.missing()
    programs, packages = {
        "browser": (("chromium", "chromedriver"), "Debian's packages chromium and chromium-driver"),
        "conda": (("conda",), "a conda on the path"),
    }.get(mark, ((), ""))
    return None if all(map(shutil.which, programs)) else f"needs {packages}"


def needed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The mark that a test needs to do what Python's audit event tells of."""
    if event == "subprocess.Popen":
        command = arguments[1]
        words = [command] if isinstance(command, str | bytes) else command
        names = {Path(str(word)).name for word in words}
        known = (mark for mark, some in PROGRAMS.items() if names & some)
        # a test of another mark has processes of its own anyway
        plain = Path(str(words[0])).name.startswith("python") and not _current & MARKS
        return next(known, "process" if plain else None)
    if event == "socket.bind" and isinstance(arguments[1], tuple) and "browser" not in _current:
        return "hub"
    return None


def now(item: pytest.Item) -> None:
    """From here on it is this test that is at work."""
    _current.clear()
    _current.update(mark.name for mark in item.iter_markers())


@contextmanager
def anything() -> Iterator[None]:
    """Meanwhile all is allowed: what tests share is begun in one of them, and is not its own."""
    own = set(_current)
    _current.update(MARKS)
    yield
    _current.intersection_update(own)


def watch() -> None:
    """From here on, fail a test in which something happens that its marks do not say.

    What goes on beside the tests, in other threads, is none of theirs.
    """

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("subprocess.Popen", "socket.bind"):
            return
        if threading.current_thread() is threading.main_thread():
            mark = needed(event, arguments)
            assert mark is None or mark in _current, (
                f"{event} {arguments[1]}: this test is to be marked `{mark}`"
            )

    sys.addaudithook(hook)
