"""Fixtures that several modules share."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from selenium import webdriver

from stable_regions.model import Model, load_model
from tests import browser, slurm
from tests.models import make_model
from tests.tiny_study import CONDA, command, make_sources, snakemake


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    """Give a small random model of a family, dtype and engine, made and loaded once a session."""
    folders: dict[str, Path] = {}
    models: dict[tuple[str, ...], Model] = {}

    def give(family: str = "llama", dtype: str = "float64", engine: str = "auto") -> Model:
        if family not in folders:
            folders[family] = make_model(tmp_path_factory.mktemp(family), family)
        key = (family, dtype, engine)
        if key not in models:
            models[key] = load_model(
                folders[family], dtype=dtype, device="cpu", engine=engine, threads=1
            )
        return models[key]

    return give


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run to its paper.

    The Python of the path fails: without conda every job is to use the one that Snakemake runs in.
    """
    folder = tmp_path_factory.mktemp("tiny")
    make_sources(folder)
    other = tmp_path_factory.mktemp("bin")
    for name in ("python", "python3", "pip"):
        (other / name).write_text("#!/bin/sh\nexit 97\n")
        (other / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(other), prepend=os.pathsep)
        done = snakemake(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits for the second run last."""
    items.sort(key=needs_second_run)


def needs_second_run(item: pytest.Item) -> bool:
    return "again" in getattr(item, "fixturenames", ())


class SecondRun(NamedTuple):
    """A run of the tiny study beside the tests; what it prints is in its folder's `printed`."""

    folder: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session", autouse=True)
def second_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecondRun | None]:
    """The tiny study once more, otherwise: through Slurm and by conda where they can be had.

    It starts before the first test, since most tests leave a core idle.
    """
    if not any(map(needs_second_run, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("again")
    make_sources(folder)
    queued = slurm.lacking() is None
    options = [*(CONDA if shutil.which("conda") else []), *(slurm.OPTIONS if queued else [])]
    line = shlex.join(command(folder, *options, *([] if queued else ["--cores", "3"])))
    if queued:  # Slurm forgets a job some minutes after its end
        line += (
            f"; ended=$?; scontrol show jobs > {shlex.quote(str(folder / 'slurm'))}; exit $ended"
        )
    with slurm.running() if queued else nullcontext(), open(folder / "printed", "wb") as printed:
        process = subprocess.Popen(["sh", "-c", line], stdout=printed, stderr=subprocess.STDOUT)
        yield SecondRun(folder, process)
        if process.poll() is None:
            for each in psutil.Process(process.pid).children(recursive=True):
                each.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture(scope="session")
def again(second_run: SecondRun) -> Path:
    """The folder of the second run, which has ended well."""
    ended = second_run.process.wait(1800)
    assert ended == 0, (second_run.folder / "printed").read_text()[-3000:]
    return second_run.folder


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests that are marked `browser.in_browser`."""
    driver = browser.start(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()
