"""Fixtures that several modules share."""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from stable_regions.model import Model, load_model
from tests import browser, slurm
from tests.beside import Beside, beside
from tests.models import make_model
from tests.tiny_study import CONDA, FIRST_FIGURE, ROOT, command, make_sources, snakemake

STUDIES = ("tiny", "queued", "again", "run_beside")  # fixtures that give finished studies


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
def tiny(
    second_run: Beside | None, runs_beside: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder in which the tiny study has been run to its paper, while others go on beside it.

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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits for a run beside the tests last, in the order in which they end.

    Of several processes (`pytest -n 2 --dist loadgroup`) one has all tests of finished studies, so
    that each study is run once, and a module's other tests are in one process, for its fixtures.
    """
    items.sort(key=lambda item: [needs(run, item) for run in ("again", "run_beside", "queued")])
    for item in items:
        of_studies = any(needs(study, item) for study in STUDIES)
        module = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("studies" if of_studies else module))


def needs(fixture: str, item: pytest.Item) -> bool:
    return fixture in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def slurm_runs() -> Iterator[None]:
    """Where Slurm is installed and none runs, each start of Snakemake waits nine seconds for it."""
    with slurm.running() if slurm.lacking() is None else nullcontext():
        yield


@pytest.fixture(scope="session")
def second_run(
    slurm_runs: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beside | None]:
    """The tiny study once more, otherwise: through Slurm and by conda where they can be had.

    Then it is verified, and by conda the embedded study's first figure is made, in `embedded`. What
    these two print is in `verified` and `embedded.printed`, and how they ended is its last line.
    """
    if not any(needs(run, item) for run in ("again", "queued") for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("again")
    make_sources(folder)
    by_slurm = slurm.lacking() is None
    conda = CONDA if shutil.which("conda") else []
    options = [*conda, *(slurm.OPTIONS if by_slurm else ["--cores", "3"])]
    line = shlex.join(command(folder, *options))
    if by_slurm:  # it forgets a job some minutes after its end
        line += " && scontrol show jobs > shown && mv shown slurm"
    verify = command(folder, "--cores", "2", *conda, "verify")
    line += f" && {{ {shlex.join(verify)} > verified 2>&1; echo $? >> verified; }}"
    if conda:
        own = ["--configfile", str(ROOT / "config.yaml"), "--cores", "2", *conda]
        first = command(folder / "embedded", *own, "--", FIRST_FIGURE)
        line += (
            f" && {{ {shlex.join(first)} > embedded.printed 2>&1; echo $? >> embedded.printed; }}"
        )
    with beside(["sh", "-c", line], folder) as run:
        yield run


@pytest.fixture(scope="session")
def queued(second_run: Beside) -> Path:
    """The folder of the second run, of which nothing is in Slurm's queue any more."""
    while not (second_run.folder / "slurm").exists() and second_run.process.poll() is None:
        time.sleep(0.5)
    return second_run.folder if second_run.process.poll() is None else second_run.ended()


@pytest.fixture(scope="session")
def again(second_run: Beside) -> Path:
    """The folder of the second run, which has ended well."""
    return second_run.ended()


@pytest.fixture(scope="session")
def runs_beside(
    slurm_runs: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What each module that has tests of one gives as its `run`, by the module's name."""
    modules = dict.fromkeys(
        item.module
        for item in request.session.items
        if isinstance(item, pytest.Function) and needs("run_beside", item)
    )
    with ExitStack() as stack:
        yield {
            module.__name__: stack.enter_context(module.run(tmp_path_factory.mktemp("beside")))
            for module in modules
        }


@pytest.fixture(scope="module")
def run_beside(request: pytest.FixtureRequest, runs_beside: dict[str, Any]) -> Any:
    """What this module's `run` gave, before the first test."""
    return runs_beside[request.module.__name__]


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests that are marked `browser.in_browser`."""
    driver = browser.start(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()
