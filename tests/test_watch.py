"""What a person sees of a run, made up from the events that Snakemake sends."""

import io
import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stable_regions.estimate.watch import LIGHT, Watch, closing

HEAVY = 46.0


class Screen(io.StringIO):
    """A screen, or a file where nobody looks on."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def log_event(watch: Watch, event: str | None, level: int = logging.INFO, **fields: Any) -> None:
    """Hand over one record as Snakemake makes them."""
    made = logging.LogRecord("snakemake", level, "", 0, fields.pop("text", ""), None, None)
    made.__dict__.update({"event": event, **fields})
    for handler in (watch, watch.instead):
        if handler is not None:
            handler.handle(made)


def begin(
    watch: Watch, number: int, rule: str, log: Path | None, *output: str, megabytes: int = 0
) -> None:
    log_event(
        watch, "job_info", jobid=number, rule_name=rule, rule_msg=f"Do {rule} {number}",
        log=[log] if log else [], output=list(output), resources=SimpleNamespace(mem_mb=megabytes),
    )  # fmt: skip


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def watch(screen: Screen) -> Watch:
    made = Watch({"sweep": HEAVY}, screen)
    log_event(made, "run_info", stats={"sweep": 2, "draw": 2, "all": 1, "total": 5})
    made.start(logging.StreamHandler(screen))
    return made


def test_a_job_that_ends_is_a_line_and_says_what_it_leaves_to_look_at(
    watch: Watch, screen: Screen
) -> None:
    """By the work that is expected of it, not by the number of jobs."""
    begin(watch, 1, "sweep", None, "raw.parquet")
    begin(watch, 2, "draw", None, "figures/fig2.csv", "figures/fig2.pdf")
    log_event(watch, None, text="Select jobs to execute...")
    log_event(watch, "job_finished", job_id=2)
    log_event(watch, "job_finished", job_id=1)
    assert HEAVY + LIGHT == 50
    lines = [line.split(" · ") for line in screen.getvalue().splitlines()]
    assert lines[0] == ["  4%", "about 0 s left", "Do draw 2", "0 s", "figures/fig2.pdf"]
    assert lines[1] == [" 50%", "about 0 s left", "Do sweep 1", "0 s"]


def test_what_is_left_follows_from_what_the_run_took(watch: Watch) -> None:
    begin(watch, 1, "sweep", None, "raw.parquet")
    assert watch.left() == ""
    log_event(watch, "job_finished", job_id=1)
    watch.started = time.monotonic() - 460
    assert watch.share() == pytest.approx(0.46)
    assert watch.left() == "about 9 min left"


def test_a_job_at_work_counts_by_what_its_log_says(watch: Watch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    begin(watch, 1, "sweep", log, "raw.parquet")
    assert watch.share() == 0  # it has not begun to write
    log.write_text("12:00:01 loaded\n12:00:11 paths: 30 of 60 pairs, 3 a second, 10 s left\n")
    assert watch.share() == pytest.approx(0.23)


def test_errors_come_through_and_after_the_end_all_does(watch: Watch, screen: Screen) -> None:
    log_event(watch, "job_error", logging.ERROR, text="Error in rule sweep")
    log_event(watch, "progress", text="1 of 4 steps (25%) done")
    assert screen.getvalue() == "Error in rule sweep\n"
    instead = watch.instead
    watch.stop()
    assert instead is not None
    instead.handle(logging.makeLogRecord({"msg": "Complete log", "levelno": logging.INFO}))
    assert screen.getvalue() == "Error in rule sweep\nComplete log\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_job_that_was_killed_is_one_line_with_what_it_asked_for(terminal: bool) -> None:
    screen = Screen(terminal)
    watch = Watch({}, screen)
    watch.start(logging.StreamHandler(screen))
    begin(watch, 1, "sweep", None, "raw.parquet", megabytes=2300)
    begin(watch, 2, "draw", None, "fig2.pdf")
    died = "CalledProcessError in file x, line 1: Command 'y' died with <Signals.SIGKILL: 9>."
    log_event(watch, "error", logging.ERROR, text=died)
    log_event(watch, "job_error", logging.ERROR, text="Error in rule sweep", jobid=1)
    log_event(watch, "error", logging.ERROR, text="Command 'y' returned non-zero exit status 1.")
    log_event(watch, "job_error", logging.ERROR, text="Error in rule draw", jobid=2)
    watch.stop()
    [line] = [line for line in screen.getvalue().splitlines() if "error: " in line]
    assert "Do sweep 1: " in line
    assert "2.3 GB" in line
    assert "memory" in line


@pytest.mark.parametrize(
    "line",
    [
        "Job 5 has been submitted with SLURM jobid 31 (log: x.log).",
        "Submitted job 5 with external jobid '31'.",
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_the_number_of_a_job_in_a_queue_comes_through(line: str, terminal: bool) -> None:
    screen = Screen(terminal)
    watch = Watch({}, screen)
    watch.start(logging.StreamHandler(screen))
    log_event(watch, None, text=line)
    log_event(watch, None, text="Select jobs to execute...")
    watch.stop()
    assert screen.getvalue().count(line) == 1
    assert "Select" not in screen.getvalue()


def test_a_dry_run_shows_nothing_of_it(screen: Screen) -> None:
    watch = Watch({}, screen)
    log_event(watch, "run_info", stats={"draw": 2, "total": 2})
    begin(watch, 1, "draw", None, "figures/fig2.pdf")
    log_event(watch, "job_finished", job_id=1)
    assert screen.getvalue() == ""


def test_a_terminal_shows_what_runs(tmp_path: Path) -> None:
    """The jobs with what they last said, and how much of the work is done; then what stays."""
    screen, log = Screen(terminal=True), tmp_path / "log"
    watch = Watch({"sweep": HEAVY}, screen)
    log_event(watch, "run_info", stats={"sweep": 2, "draw": 2, "total": 4})
    watch.start(logging.StreamHandler(screen))
    try:
        log.write_text("12:00:11 paths: 30 of 60 pairs, 3 a second, 10 s left\n")
        begin(watch, 1, "sweep", log, "raw.parquet")
        watch.live.refresh()
        log_event(watch, "job_error", logging.ERROR, text="Error in rule draw")
    finally:
        watch.stop()
    shown = screen.getvalue()
    assert "23% of the work" in shown
    assert "Do sweep 1" in shown
    assert "30 of 60 pairs" in shown
    assert shown.count("Error in rule draw") == 1


def test_a_job_whose_output_is_what_it_prints_has_the_terminal_to_itself() -> None:
    screen = Screen(terminal=True)
    watch = Watch({}, screen)
    log_event(watch, "run_info", stats={"plan": 1, "total": 1})
    watch.start(logging.StreamHandler(screen))
    begin(watch, 1, "plan", None)
    assert watch.live is None


def test_the_end_says_where_things_are_and_what_was_found(tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "figures").mkdir(parents=True)
    (results / "figures" / "fig2.pdf").touch()
    verdicts = ["replicated", "not run: needs a", "partly", "replicated", "not run: needs b"]
    (results / "claims.json").write_text(json.dumps([{"verdict": each} for each in verdicts]))
    compared = tmp_path / "compared.json"
    assert len(closing(results, compared)) == 4
    compared.write_text('{"line": "identical bytes: 3"}')
    lines = closing(results, compared)
    assert lines[0].startswith(f"The paper: {results}/paper.pdf; ")
    assert lines[1].startswith("1 figures ")
    assert lines[2] == f"Claims: 2 replicated, 2 not run, 1 partly ({results}/claims.json)"
    assert lines[3] == "Against the reference: identical bytes: 3"
