"""Runs beside the tests: what a test of ours does to this process is not to reach them."""

import os
import sys
from pathlib import Path

import pytest

from tests.background import BackgroundRun, Turns

TELL = [sys.executable, "-c", "import os; print(os.environ.get('MARK'), os.getcwd())"]


def test_a_run_has_the_environment_of_the_moment_in_which_it_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may begin in the midst of any test, such as one that leads pip to an empty index."""
    monkeypatch.setenv("MARK", "planned")
    runs = [BackgroundRun(tmp_path / name, TELL) for name in ("first", "second")]
    monkeypatch.setenv("MARK", "changed")
    monkeypatch.chdir(os.sep)
    Turns(runs).start()
    for run in runs:
        assert run.ended() == run.folder
        assert run.said() == f"planned {run.folder}\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_that_fails_or_cannot_begin_is_over_and_tells_why(tmp_path: Path) -> None:
    failing = BackgroundRun(
        tmp_path / "failing", [sys.executable, "-c", "raise SystemExit('sorry')"]
    )
    never = BackgroundRun(tmp_path / "never", [sys.executable], env={"MARK": "\0"})
    after = BackgroundRun(tmp_path / "after", TELL)
    turns = Turns([failing, never, after])
    turns.start()
    turns.join()
    with pytest.raises(AssertionError, match="sorry"):
        failing.ended()
    for run in (never, after):
        with pytest.raises(AssertionError):
            run.ended()
    assert after.said() == "it has not begun"
