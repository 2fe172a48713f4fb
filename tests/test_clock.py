"""The machine's clock may be set back, in a run or between two: durations stay right."""

import io
import logging
import os
import subprocess
import sys
import time
from datetime import datetime
from itertools import count
from pathlib import Path

import pytest
from snakemake import benchmark

from scripts import _forking
from stable_regions.audit.records import load_records
from stable_regions.base.progress import Progress
from stable_regions.estimate.costs import cost_table, seconds_taken
from stable_regions.estimate.watch import Watch
from tests.test_watch import begin, log_event
from tests.tiny_study import ROOT

HOUR = 3600.0


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set back by an hour whenever it is asked."""
    hours = count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - HOUR * next(hours))


# What took how long

JOB = """
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace
sys.path.insert(0, "scripts")
import _job
from stable_regions.audit import records
from stable_regions.audit.replay import NamedItems

class SetBack(datetime):
    @classmethod
    def now(cls, zone):
        return datetime.now(zone) - timedelta(hours=1)

none = NamedItems.of({})
made, log = sys.argv[1] + "/x.csv", sys.argv[1] + "/x.log"
job = SimpleNamespace(
    rule="x", log=[log], threads=1, input=none, output=NamedItems([made], {}), params=none,
    wildcards=none,
)
with _job.job(job):
    open(made, "w").close()
    records.datetime = SetBack
"""


@pytest.mark.process
def test_a_job_in_which_the_clock_is_set_back_ends_after_its_start(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB, encoding="utf-8")
    subprocess.run([sys.executable, script, tmp_path], cwd=ROOT, check=True)
    [record] = load_records(tmp_path)
    began, ended = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
    assert 0 <= (ended - began).total_seconds() < 60


def test_what_a_script_took_is_measured_by_a_clock_that_nobody_sets(
    falling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = benchmark.BenchmarkRecord()
    with benchmark.benchmarked(os.getpid(), record):
        pass
    assert record.running_time <= -HOUR  # as Snakemake does
    with _forking.measured(os.getpid(), record):
        pass
    assert 0 <= record.running_time < 60


def test_times_below_zero_count_in_no_estimate(tmp_path: Path) -> None:
    for name, seconds in (("a", 7), ("b", -3590)):
        (tmp_path / f"{name}.benchmark.tsv").write_text(
            f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t-1 day, 23:00:10\t9\t5\n", encoding="utf-8"
        )
    assert list(seconds_taken([tmp_path]).values()) == [7.0]
    [row] = cost_table({"planes": sorted(tmp_path.iterdir())}).to_dict("records")
    assert row["jobs"] == 2
    assert row["seconds"] == 7
    assert row["processor_seconds"] == 10


def test_what_a_person_sees_of_a_run_has_no_time_below_zero(
    falling: None, caplog: pytest.LogCaptureFixture
) -> None:
    screen = io.StringIO()
    watch = Watch({"sweep": 4.0}, screen)
    log_event(watch, "run_info", stats={"sweep": 3})
    watch.start(logging.StreamHandler(screen))
    for number in range(2):
        begin(watch, number, "sweep", None, "raw.parquet")
        log_event(watch, "job_finished", job_id=number)
    with caplog.at_level(logging.INFO):
        progress = Progress("sweeping", 3, "points", every=0)
        for _ in range(3):
            progress.advance(1)
    lines = [*screen.getvalue().splitlines(), *caplog.messages]
    assert len(lines) == 5
    assert all(" left" in line and "-" not in line for line in lines), lines
