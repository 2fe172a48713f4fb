"""The machine's clock may be set back, in a run or between two: order and durations stay right."""

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

from scripts import _forking, _times
from stable_regions.audit.records import load_records
from stable_regions.base.progress import Progress
from stable_regions.estimate.costs import cost_table, seconds_taken
from stable_regions.estimate.watch import Watch
from tests.test_watch import begin, log_event
from tests.tiny_study import ROOT, finished, make_sources, snakemake

HOUR = 3600.0


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set back by an hour whenever it is asked."""
    hours = count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - HOUR * next(hours))


# The times of files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which Snakemake has run."""
    (tmp_path / ".snakemake").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def latest() -> float:
    return _times.LATEST.stat().st_mtime


def test_files_that_are_newer_than_all_before_keep_their_times(folder: Path) -> None:
    for _ in range(3):
        now = time.time()
        assert _times.time_for([now], [now - 1, now]) is None
        assert latest() == pytest.approx(now, abs=1)


def test_files_made_after_the_clock_was_set_back_are_newer_than_all_before(folder: Path) -> None:
    now = time.time()
    given = [now + HOUR, _times.time_for([now], [now + HOUR])]  # of a file that was read
    for _ in range(3):
        given.append(_times.time_for([now], []))  # of files that other jobs made
        assert given[-1] == pytest.approx(latest())
    # the coarsest of file systems keep these numbers
    ticks = [each // _times.STEP for each in given if each is not None]
    assert ticks == sorted(set(ticks))
    assert len(ticks) == len(given)


@pytest.mark.workflow
def test_a_run_goes_on_after_the_clock_was_set_back(tmp_path: Path) -> None:
    make_sources(tmp_path)
    source, corpus = tmp_path / "sources/tiny.txt", tmp_path / "resources/corpora/tiny.parquet"
    later = time.time() + HOUR
    os.utime(source, (later, later))
    for jobs in (1, 0):
        done = snakemake(tmp_path, "--", "resources/corpora/tiny.parquet")
        assert done.returncode == 0, done.stderr[-3000:]
        assert finished(done.stderr) == jobs
    before = corpus.stat().st_mtime
    assert before > later
    # a file that is made anew is newer than what was made of the one before
    corpus.unlink()
    assert snakemake(tmp_path, "--", "resources/corpora/tiny.parquet").returncode == 0
    assert corpus.stat().st_mtime >= before + _times.STEP


def test_what_is_read_of_the_checkout_is_known_by_its_bytes(tiny: Path) -> None:
    """By its time it is not, if it was edited after the clock was set back."""
    read = 0
    for record in load_records(tiny / "logs"):
        for file in record["input"]["files"]:
            if not file["path"].startswith(("results/", "resources/", "sources/")):
                assert file["sha256"] in record["params"]["sha256"], file["path"]
                read += 1
    assert read > 20


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
