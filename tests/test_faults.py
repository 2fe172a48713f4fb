"""Whatever happens to a run, what it leaves is right or plainly absent, and the next goes on."""

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from glob import glob
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml

from stable_regions.audit import records
from stable_regions.audit.replay import replay
from stable_regions.base import files
from stable_regions.base.errors import UserError, is_disk_full
from stable_regions.base.files import sha256
from tests.tiny_study import CONFIG, ROOT, finished, hashes, make_sources, snakemake

# A part of the tiny study: the sources, training, shards, and a figure; TARGETS take JOBS jobs.
TARGETS = [
    "results/tiny/figures/figA_losses.pdf",
    "results/tiny/interpolation/sharpness/tiny-llama.parquet",
    "results/tiny/activations/tiny/tiny-trained@step6.safetensors",
    "results/tiny/tables/clusters_scores.csv",
]
SCRIPTS = sorted((ROOT / "scripts").glob("[a-z]*.py"))
JOBS = 20
KILLS = 20
LEFT = 4  # jobs, when the last kill is due
LOCKED = "Directory cannot be locked"


class Run:
    """Snakemake at work in a folder; the end of the block kills it and its jobs."""

    def __init__(self, folder: Path, *arguments: str, config: Path = CONFIG) -> None:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--configfile", str(config), "--directory", str(folder), "--cores", "2"]
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = psutil.Popen([*command, *arguments], stdout=self.output, stderr=self.output)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()
        self.output.close()

    def jobs(self) -> list[psutil.Process]:
        """The scripts at work."""
        with suppress(psutil.NoSuchProcess):
            return list(filter(runs_script, self.process.children(recursive=True)))
        return []

    def kill(self) -> None:
        """Kill it and all that it has started at one moment, as a loss of power does."""
        at_work: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            self.process.suspend()
            at_work = self.process.children(recursive=True)
        for process in [*at_work, self.process]:
            with suppress(psutil.NoSuchProcess):  # of one that has just ended, and not of all
                process.kill()
        self.process.wait()

    def sleep(self, seconds: float) -> None:
        """Let it and all that it has started stand still, as a laptop does that is closed."""
        stopped = [self.process, *self.process.children(recursive=True)]
        for act in ("suspend", "resume"):
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    getattr(process, act)()
            time.sleep(seconds if act == "suspend" else 0)

    def shown(self) -> str:
        self.output.seek(0)
        return self.output.read()


def runs_script(process: psutil.Process) -> bool:
    """Whether a process is a job's script: started with it, or forked for it."""
    with suppress(psutil.NoSuchProcess):
        command, name = process.cmdline(), process.name()
        started = len(command) == 2 and "/.snakemake/scripts/" in command[1]
        return started or any(script.name.startswith(name) for script in SCRIPTS)
    return False


def spent(process: psutil.Process) -> float:
    """Seconds of the processor that a process has used."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def recorded(folder: Path) -> int:
    """Jobs that are done; `glob` bears with what goes while it looks."""
    return len(glob(f"**/*{records.SUFFIX}", root_dir=folder / "logs", recursive=True))


def errors(shown: str) -> list[str]:
    """The lines with which jobs failed."""
    return [line for line in shown.splitlines() if "] error: " in line]


def until(condition: Callable[[], Any], run: Run | None = None) -> None:
    """Wait for something to happen, while a run is at work."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        assert run is None or run.process.poll() is None, run.shown()[-3000:]
        time.sleep(0.05)


# Kills


@pytest.fixture
def failing_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of the path fails: without conda every job is to use Snakemake's own."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "python3", "pip"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 97\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_a_run_killed_at_twenty_moments_ends_in_the_same_bytes(
    tiny_hashes: dict[str, str], failing_python: None, tmp_path: Path
) -> None:
    """Most kills are of one job, at work for some time; every sixth is of the whole run.

    A job that was killed is tried again, a run started again. In between it sleeps.
    """
    make_sources(tmp_path)
    moments = np.linspace(0.02, 0.6, KILLS)  # a job that loads a model works for longer everywhere
    # the early ones last: none of the jobs that are left then may be long
    patience = [*np.random.default_rng(0).permutation(moments[4:]), *moments[:4]]
    kills = done = 0
    for _ in range(2 * KILLS):
        with Run(tmp_path, "--keep-going", "--retries", "5", "--", *TARGETS) as run:
            while run.process.poll() is None:
                time.sleep(0.02)
                if kills == KILLS or recorded(tmp_path) < kills * (JOBS - LEFT) // KILLS:
                    continue
                job = next((job for job in run.jobs() if spent(job) > patience[kills]), None)
                if job is not None:
                    kills += 1
                    job.kill() if kills % 6 else run.kill()
                    if kills == KILLS // 2:
                        run.sleep(5)
            done += finished(run.shown())
        if run.process.returncode == 0:
            break
    assert kills == KILLS
    assert recorded(tmp_path) == JOBS
    assert done <= JOBS  # nothing was done twice
    made = hashes(tmp_path)
    assert set(TARGETS) <= set(made)
    assert made == {name: tiny_hashes.get(name) for name in made}
    ran = {(r["conda"], r["versions"]["python"]) for r in records.load_records(tmp_path / "logs")}
    assert ran == {(None, platform.python_version())}


def killed(at: int, act: Callable[[], None]) -> bool:
    """Let a process of its own do something, and kill it before it touches the disk once more."""
    pid = os.fork()
    if not pid:
        touches = count()

        def watch(event: str, _: Any) -> None:
            touch = event == "open" or event.partition(".")[0] in ("os", "shutil", "tempfile")
            if touch and next(touches) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            act()
        finally:  # or else it would go on with the tests
            os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


def write_folder(path: Path) -> None:
    with files.atomic(path) as made:
        made.mkdir()
        for name in ("config.json", "model.safetensors"):
            (made / name).write_text(name)


WRITERS: dict[str, Callable[[Path], None]] = {
    "json": lambda path: files.write_json(path, {"a": 1}),
    "csv": lambda path: files.write_csv(path, pd.DataFrame({"a": [1.0]})),
    "parquet": lambda path: files.write_parquet(path, pd.DataFrame({"a": [1.0]}), {}),
    "safetensors": lambda path: files.write_safetensors(path, {"a": torch.zeros(3)}, {}),
    "arrays": lambda path: files.write_arrays(path, {"a": np.zeros(3)}, {}),
    "record": lambda path: records.dump(path, {"a": 1}),
    "folder": write_folder,
}


def content(path: Path) -> Any:
    """Of a file, or of a folder's files; None of what is not there."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize(
    "kind",
    [
        "json",
        "folder",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(WRITERS)[1:-1]),
    ],
)
@pytest.mark.parametrize("older", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_writer_killed_at_any_moment_leaves_all_or_nothing(
    tmp_path: Path, kind: str, older: bool
) -> None:
    write = WRITERS[kind]
    write(tmp_path / "whole")
    for at in count():
        path = tmp_path / str(at) / "x"
        if older and kind == "folder":
            path.mkdir(parents=True)
        elif older:
            path.parent.mkdir()
            path.write_text("older")
        before = content(path)
        was_killed = killed(at, partial(write, path))
        assert content(path) in (None, before, content(tmp_path / "whole"))
        if not was_killed:
            break
        write(path)
        assert content(path) == content(tmp_path / "whole")
        assert list(path.parent.iterdir()) == [path]
    assert at > 5


# The disk


def test_a_disk_that_tells_late_that_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(tmp_path / "x", {"a": 1})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount` here to make a small disk with")
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte; the file that goes on it can be deleted."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space left"), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


@pytest.mark.parametrize("kind", ["csv", "parquet", "safetensors", "arrays", "json", "record"])
def test_a_full_disk_is_known_in_every_writers_words(small_disk: Path, kind: str) -> None:
    numbers = np.random.default_rng(0).random(1_000_000)
    table = pd.DataFrame({"a": numbers})
    path = small_disk / "x"
    with pytest.raises(Exception) as caught:  # noqa: PT011
        {
            "csv": lambda: files.write_csv(path, table),
            "parquet": lambda: files.write_parquet(path, table, {}),
            "safetensors": lambda: files.write_safetensors(path, {"a": torch.tensor(numbers)}, {}),
            "arrays": lambda: files.write_arrays(path, {"a": numbers}, {}),
            "json": lambda: files.write_json(path, numbers.tolist()),
            "record": lambda: records.dump(path, numbers.tolist()),
        }[kind]()
    assert is_disk_full(caught.value)
    assert not list(small_disk.iterdir())


@pytest.mark.workflow
def test_a_full_disk_is_one_line_and_nothing_half_done(
    tiny: Path, tiny_hashes: dict[str, str], small_disk: Path
) -> None:
    make_sources(small_disk)
    twin = "resources/models/tiny-random"
    targets = ["--keep-going", "--", "resources/corpora/tiny.parquet", twin]
    room = (tiny / twin / "model.safetensors").stat().st_size  # enough for all else, not for both
    with open(small_disk / "ballast", "wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(small_disk).free - room))
    done = snakemake(small_disk, *targets)
    assert done.returncode != 0
    [line] = errors(done.stderr)
    assert f"disk full while writing {twin}" in line
    assert "Traceback" not in done.stderr
    made = hashes(small_disk)
    assert "resources/corpora/tiny.parquet" in made
    assert not [name for name in made if "tiny-random" in name]
    os.unlink(small_disk / "ballast")
    done = snakemake(small_disk, *targets)
    assert done.returncode == 0, done.stderr[-3000:]
    assert finished(done.stderr) == 1
    made = hashes(small_disk)
    assert f"{twin}/model.safetensors" in made
    assert made == {name: tiny_hashes.get(name) for name in made}


@pytest.mark.workflow
def test_a_run_on_a_full_disk_says_so_and_nothing_else(tmp_path: Path, small_disk: Path) -> None:
    make_sources(small_disk)
    assert snakemake(small_disk, "--dry-run").returncode == 0
    ballast = fill(small_disk)
    done = snakemake(small_disk, "--config", "target=sources/tiny.txt", "--", "trace")
    assert done.returncode != 0
    assert "\nthe disk is full: free some space here" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 10
    ballast.unlink()
    done = snakemake(small_disk, "--config", "target=sources/tiny.txt", "--", "trace")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.process
def test_a_disk_that_fills_while_a_result_is_traced(small_disk: Path) -> None:
    (small_disk / "results").mkdir()
    (small_disk / "results" / "a.csv").write_text("x\n1\n")
    (small_disk / "logs").mkdir()
    older = small_disk / "logs" / "trace.json"
    older.write_text("older")
    fill(small_disk)
    job = {
        "rule": "trace", "script": "scripts/trace.py", "wildcards": {}, "threads": 1,
        "params": {"results": "results", "target": "results/a.csv:2", "json": "logs/trace.json"},
        "input": {"files": [], "names": {}}, "output": {"files": [], "names": {}},
    }  # fmt: skip
    program = (
        "import json, sys; from pathlib import Path; from stable_regions.audit.replay import run; "
        "run(json.loads(sys.argv[1]), Path('.'), Path('logs/trace.log'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(job)], cwd=small_disk,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("[trace] error: disk full while writing logs/trace")
    assert 'line 2: {"x": 1}' in done.stdout
    assert older.read_text() == "older"
    assert {path.name for path in older.parent.iterdir()} == {"trace.json", "trace.log"}


FILLS = """
from scripts._job import job
from stable_regions.base.files import atomic

with job(snakemake), atomic(snakemake.output[0]) as target:
    target.write_bytes(bytes(10**7))
"""


def test_a_disk_that_fills_while_results_are_rebuilt_is_no_difference_of_them(
    tmp_path: Path, small_disk: Path
) -> None:
    script = tmp_path / "fills.py"
    script.write_text(FILLS)
    job = {
        "rule": "x", "script": str(script), "wildcards": {}, "params": {}, "threads": 1,
        "input": {"files": [], "names": {}},
        "output": {"files": [{"path": "results/a.csv", "sha256": ""}], "names": {}},
    }  # fmt: skip
    with pytest.raises(OSError, match="No space left") as caught:
        list(replay([job], small_disk, 1))
    assert caught.value.filename == str(small_disk)
    assert not list((small_disk / "results").iterdir())


@pytest.mark.workflow
@pytest.mark.parametrize("mode", [None, 0o000, 0o500])
def test_an_unusable_results_folder_is_one_line(tmp_path: Path, mode: int | None) -> None:
    """A file in its place, or one that this user may not read, or not write."""
    make_sources(tmp_path)
    inner = tmp_path / "results" / "tiny"
    inner.parent.mkdir()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(CONFIG), "--directory", str(tmp_path), "--cores", "1"]
    if mode is None:
        inner.write_text("")
    else:
        inner.mkdir(mode=mode)
        if os.geteuid() == 0:
            without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
            if shutil.which("setpriv") is None:
                pytest.skip("root may read everything, and there is no `setpriv` to hinder it")
            command = without + command
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("results/tiny: ")]
    message = "not a directory" if mode is None else "permission denied"
    assert line == f"results/tiny: {message}; a folder to read and write is needed"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "resources").exists()


# Downloads, and runs beside each other: a download lasts as long as a test likes


class Index:
    """A package index of this machine with one package, which is given out as `ways` say in turn.

    A download that "breaks" ends in the middle; one that "stalls" waits there to go on.
    """

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.ways: Iterator[str] = iter(())
        self.stalled, self.go_on = Event(), Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                body = index.wheel.read_bytes()
                way = "whole"
                if self.path.startswith("/simple/"):
                    body = f'<a href="/{index.wheel.name}">{index.wheel.name}</a>'.encode()
                else:
                    way = next(index.ways)
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if way == "whole" else "x/whl")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                if way == "stalls":
                    index.stalled.set()
                    index.go_on.wait()
                if way != "breaks":
                    with suppress(OSError):  # nobody may be left to take it
                        self.wfile.write(body[len(body) // 2 :])

        return Handler


PACKAGE = "faulty-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index as pip's own, and in `work/` a study with a text in its package."""
    wheel = tmp_path / PACKAGE
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("faulty/a.txt", "A text. " * 2000)
        made.writestr(
            "faulty-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n"
        )
        made.writestr("faulty-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr("faulty-1.0.dist-info/RECORD", "")
    make_sources(tmp_path / "work")
    overlay = yaml.safe_load(CONFIG.read_text())
    overlay["packages"] = {
        "faulty": {
            "version": "1.0", "file": PACKAGE, "sha256": sha256(wheel), "megabytes": 0.1,
            "licence": "none needed",
        }
    }  # fmt: skip
    overlay["corpora"]["packed"] = {"kind": "package", "package": "faulty", "members": ["*/a.txt"]}
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    result = Index(wheel)
    for name, value in {
        "PIP_INDEX_URL": result.url, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0", "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    thread = Thread(target=result.server.serve_forever, daemon=True)
    thread.start()
    yield result
    result.go_on.set()
    result.server.shutdown()
    result.server.server_close()
    thread.join()


@contextmanager
def fetching(folder: Path) -> Iterator[Run]:
    """A run that fetches the package and reads its text."""
    target = "resources/corpora/packed.parquet"
    with Run(folder / "work", "--", target, config=folder / "overlay.yaml") as run:
        yield run


@pytest.mark.hub
@pytest.mark.workflow
def test_a_half_written_download_is_not_taken_for_the_whole(index: Index, tmp_path: Path) -> None:
    index.ways = iter(["breaks", "stalls", "whole"])
    packages = tmp_path / "work" / "resources" / "packages"
    with fetching(tmp_path) as run:
        until(index.stalled.is_set, run)
        [line] = errors(run.shown())
        assert "error: faulty==1.0: " in line  # the index's, or the hash's, by the version of pip
        run.kill()
    assert not packages.exists() or not list(packages.iterdir())
    with fetching(tmp_path) as run:
        assert run.process.wait() == 0, run.shown()[-3000:]
    assert [path.name for path in packages.iterdir()] == [PACKAGE]
    assert sha256(packages / PACKAGE) == sha256(tmp_path / PACKAGE)
    texts, _ = files.read_parquet(packages.parent / "corpora" / "packed.parquet")
    assert texts["text"].tolist() == ["A text. " * 2000]


@pytest.mark.hub
@pytest.mark.workflow
def test_of_two_runs_started_at_once_one_is_refused(index: Index, tmp_path: Path) -> None:
    index.ways = iter(["stalls"])
    with fetching(tmp_path) as one, fetching(tmp_path) as other:
        runs = [one, other]
        until(lambda: any(run.process.poll() is not None for run in runs))
        [refused] = [run for run in runs if run.process.poll() is not None]
        [first] = [run for run in runs if run is not refused]
        assert refused.process.returncode != 0
        assert LOCKED in refused.shown()
        assert "Traceback" not in refused.shown()
        index.go_on.set()
        assert first.process.wait() == 0, first.shown()[-3000:]
    with fetching(tmp_path) as again:
        assert again.process.wait() == 0
        assert "Nothing to be done" in again.shown()


@pytest.mark.hub
@pytest.mark.workflow
def test_another_study_runs_at_once_in_the_same_folder(index: Index, tmp_path: Path) -> None:
    index.ways = iter(["stalls"])
    overlay = yaml.safe_load(CONFIG.read_text())
    overlay["study"] = "second"
    overlay["studies"]["second"] = {"title": "b", "experiments": {"sharpness": ["tiny-llama"]}}
    second = tmp_path / "second.yaml"
    second.write_text(yaml.safe_dump(overlay))
    prompts = "results/second/prompts/tiny/tiny-llama.pairs.parquet"
    with fetching(tmp_path) as first:
        until(index.stalled.is_set, first)
        with Run(tmp_path / "work", "--", prompts, config=second) as beside:
            assert beside.process.wait() == 0, beside.shown()[-3000:]
        index.go_on.set()
        assert first.process.wait() == 0, first.shown()[-3000:]
    with Run(tmp_path / "work", "--", prompts, config=second) as again:
        assert again.process.wait() == 0
        assert "Nothing to be done" in again.shown()
    made = {path.name for path in (tmp_path / "work/resources/corpora").iterdir()}
    assert made == {"packed.parquet", "tiny.parquet"}


@pytest.mark.hub
@pytest.mark.workflow
def test_a_job_that_outlives_its_run_is_waited_for(index: Index, tmp_path: Path) -> None:
    index.ways = iter(["stalls", "whole"])
    with fetching(tmp_path) as first:
        until(index.stalled.is_set, first)
        [job] = first.jobs()
        first.process.kill()
        first.process.wait()
    with fetching(tmp_path) as second:
        assert second.process.wait() != 0
        assert LOCKED in second.shown()
    index.go_on.set()
    until(lambda: gone(job))
    with fetching(tmp_path) as third:
        assert third.process.wait() == 0, third.shown()[-3000:]


@pytest.mark.hub
@pytest.mark.workflow
def test_a_job_that_the_system_kills_is_one_line(index: Index, tmp_path: Path) -> None:
    index.ways = iter(["stalls", "whole"])
    with fetching(tmp_path) as run:
        until(index.stalled.is_set, run)
        [job] = run.jobs()
        job.kill()
        index.go_on.set()
        assert run.process.wait() == 0, run.shown()[-3000:]  # a download is tried again
        [line] = [line for line in run.shown().splitlines() if line.startswith("error: ")]
    assert "faulty" in line
    assert "was killed" in line


# What has changed behind a run's back


@pytest.fixture
def study(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, to be spoiled; the links of its models lead to the first."""
    return Path(shutil.copytree(tiny, tmp_path / "study", symlinks=True))


def spoil(path: Path, content: bytes, older: float = 0) -> None:
    """Put something else in a file, as a fault of the disk does: its time does not tell of it."""
    time = path.stat().st_mtime - older
    path.write_bytes(content)
    os.utime(path, (time, time))


def flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-len(content) // 3] ^= 1
    return bytes(content)


def test_a_damaged_file_is_named_and_not_used(study: Path, tiny: Path) -> None:
    results = "results/tiny"
    table, figure = f"{results}/tables/training_losses.csv", f"{results}/figures/figA_losses.pdf"
    asked = {  # by what is damaged: what is made from it
        "resources/corpora/tiny.parquet": f"{results}/prompts/tiny-other/tiny-llama.pairs.parquet",
        "resources/models/tiny-random": f"{results}/activations/tiny/tiny-random.safetensors",
        f"{results}/activations/tiny/tiny-gpt2.safetensors": (
            f"{results}/interpolation/size/tiny-gpt2.parquet"
        ),
        table: figure,
    }
    corpus, model, activations, _ = (study / path for path in asked)
    spoil(corpus, flipped(corpus))
    spoil(model / "model.safetensors", flipped(model / "model.safetensors"))
    spoil(activations, activations.read_bytes()[:-100])
    spoil(study / table, (study / table).read_bytes().replace(b"tiny", b"tidy", 1))
    for path in asked.values():
        (study / path).unlink()
    done = snakemake(study, "--keep-going", "--", *asked.values())
    assert done.returncode != 0
    lines = errors(done.stderr)
    assert len(lines) == len(asked), done.stderr[-3000:]
    for path in asked:
        [line] = [line for line in lines if f"error: {path}" in line]
        assert "delete " in line
    assert "Traceback" not in done.stderr
    assert not [path for path in asked.values() if (study / path).exists()]
    (study / table).unlink()
    done = snakemake(study, "--", figure)
    assert done.returncode == 0, done.stderr[-3000:]
    for path in (table, figure):
        assert sha256(study / path) == sha256(tiny / path)


@pytest.mark.parametrize(
    ("source", "again", "kept"),
    [
        (
            "tiny-llama/model.safetensors",
            "Cache the activations of tiny-llama on",
            "Read the corpus",
        ),
        ("tiny.txt", "Read the corpus tiny\n", "Make the model folder of "),
    ],
)
def test_a_source_put_back_with_an_older_time_is_noticed(
    study: Path, source: str, again: str, kept: str
) -> None:
    path = study / "sources" / source
    spoil(path, flipped(path), older=3600)
    done = snakemake(study, "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert again in done.stdout
    assert kept not in done.stdout
    assert "Cache the activations of tiny-random" in done.stdout
    assert ("Cache the activations of tiny-gpt2" in done.stdout) == (source == "tiny.txt")


def test_a_record_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    made = tmp_path / "table.csv"
    made.write_text("a")
    output = {"files": [{"path": str(made), "sha256": sha256(made)}], "names": {}}
    record = {"rule": "table", "output": output, "ended": ""}
    with files.atomic(tmp_path / "logs" / "half.record.json") as half:
        half.write_text(json.dumps(record)[:-3])
        assert records.load_records(tmp_path / "logs") == []
        assert records.check_inputs([str(made)], tmp_path / "logs") == {str(made): sha256(made)}
        half.write_text(json.dumps(record))
    made.write_text("b")
    with pytest.raises(UserError, match="table.csv: .*rule table .*delete"):
        records.check_inputs([str(made)], tmp_path / "logs")
