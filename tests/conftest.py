"""Fixtures that several modules share."""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import marks, slurm
from tests.background import BackgroundRun, Turns

if TYPE_CHECKING:  # the process that hands out tests needs none of what takes seconds to import
    from selenium import webdriver

    from stable_regions.models.model import Model

# Fixtures that wait for runs beside the tests, in the order in which these have their turns.
RUNS = ("tiny_hashes", "again", "verified", "embedded", "queued", "background_run")
# Of a test of many architectures' families these are tried by `make unit` too: of the fused engine
# the plainest and one that needs most of it, and one that it does not run.
FAMILIES = ("llama", "gemma2", "gpt2")


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., Model]":
    """Give a small random model of a family, dtype and engine, made and loaded once a session."""
    from stable_regions.models.load import load_model
    from tests.models import make_model

    folders: dict[str, Path] = {}
    models: dict[tuple[str, ...], Model] = {}

    def give(family: str = "llama", dtype: str = "float64", engine: str = "auto") -> "Model":
        if family not in folders:
            folders[family] = make_model(tmp_path_factory.mktemp(family), family)
        key = (family, dtype, engine)
        if key not in models:
            models[key] = load_model(
                folders[family], dtype=dtype, device="cpu", engine=engine, threads=1
            )
        return models[key]

    return give


def needs(fixture: str, item: pytest.Item) -> bool:
    return fixture in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what waits for a run beside the tests behind what does not, in the order of the runs.

    Mark tests by the fixtures that they use. Of several processes one gets all that waits for runs,
    so that each is done once, and begins with it; others get whole modules, first those that start
    workflows: what is left in the end is short.
    """
    start_workflows: set[str] = set()  # modules
    for item in items:
        group = item.path.stem
        if any(needs(run, item) for run in RUNS):
            item.add_marker("workflow")
            group = "runs"
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("workflow"):
            start_workflows.add(item.path.stem)
        if needs("chrome", item):
            item.add_marker("browser")
        family = item.callspec.params.get("family") if hasattr(item, "callspec") else None
        if isinstance(family, str) and family not in FAMILIES:
            item.add_marker("slow")
    items.sort(key=lambda item: [needs(run, item) for run in reversed(RUNS)])
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(
            key=lambda item: (
                not any(needs(run, item) for run in RUNS),
                item.path.stem not in start_workflows,
            )
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that cannot run here; what is here is asked only for tests that are run."""
    for reason in filter(None, (marks.missing(mark.name) for mark in item.iter_markers())):
        pytest.skip(reason)
    marks.now(item)


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest) -> None:
    """Begin the runs before the first test, and of several processes in the one that needs them."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        request.getfixturevalue("runs")
    marks.watch()


@pytest.fixture(scope="session")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, BackgroundRun]]:
    """The runs beside the tests that some test waits for.

    They go by their fixture, and those that modules give as their `run` by the module's name.
    """
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    needed = {run for run in RUNS if any(needs(run, item) for item in items)}
    runs: dict[str, BackgroundRun] = {}
    with ExitStack() as stack:
        with marks.anything():
            if "tiny_hashes" in needed:
                runs["tiny"] = tiny_run(tmp_path_factory)
            if needed and slurm.missing() is None:
                # if none runs where it is installed, each start of Snakemake waits nine seconds
                stack.enter_context(slurm.running())
            if {"again", "verified", "embedded"} & needed:
                runs |= second_runs(tmp_path_factory.mktemp("again"))
            if "queued" in needed and slurm.missing() is None:
                runs["queued"] = queued_run(tmp_path_factory.mktemp("queued"))
            for module in dict.fromkeys(
                item.module for item in items if needs("background_run", item)
            ):
                given = module.run(tmp_path_factory.mktemp("beside"))
                runs[module.__name__] = stack.enter_context(given)
            turns = Turns(list(runs.values()))
            stack.callback(turns.stop)
            turns.start()
        yield runs


def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> BackgroundRun:
    """The tiny study to its paper."""
    from tests.tiny_study import command, make_sources

    folder = tmp_path_factory.mktemp("tiny")
    make_sources(folder)
    return BackgroundRun(folder, command(folder, "--cores", "2"))


def second_runs(folder: Path) -> dict[str, BackgroundRun]:
    """A part of the tiny study, otherwise: on more cores, and by conda where it can be had.

    Then it is verified, and by conda the embedded study's first figure is made.
    """
    from tests import documents
    from tests.tiny_study import FEW, FIRST_FIGURE, ROOT, command, make_sources

    make_sources(folder)
    conda = documents.conda()
    verify = command(folder, *documents.arguments("verify"), "--cores", "2", *conda, *FEW)
    runs = {
        "again": BackgroundRun(folder, command(folder, "--cores", "3", *conda, *FEW)),
        "verified": BackgroundRun(folder / "verified", verify),
    }
    if conda:
        own = folder / "embedded"
        embedded = ["--configfile", str(ROOT / "config.yaml"), "--cores", "2", *conda]
        runs["embedded"] = BackgroundRun(own, command(own, *embedded, "--", FIRST_FIGURE))
    return runs


def queued_run(folder: Path) -> BackgroundRun:
    """A smaller part, through Slurm."""
    from tests import documents
    from tests.tiny_study import QUEUE, make_sources

    make_sources(folder)
    # Slurm forgets a job some minutes after its end, so it is asked again and again
    asked = "scontrol show jobs >> entries"
    line = (
        f"(while :; do {asked}; sleep 60; done) & asking=$!; "
        f"{shlex.join(slurm.command(folder, *documents.conda(), *QUEUE))}; status=$?; "
        f"kill $asking; {asked}; exit $status"
    )
    return BackgroundRun(folder, ["sh", "-c", line])


@pytest.fixture(scope="session")
def tiny_hashes(runs: dict[str, BackgroundRun]) -> dict[str, str]:
    """SHA-256 of all that the run in `tiny` made, before any test could add to it."""
    from tests.tiny_study import hashes

    return hashes(runs["tiny"].ended())


@pytest.fixture(scope="session")
def tiny(runs: dict[str, BackgroundRun], tiny_hashes: dict[str, str]) -> Path:
    """A folder in which the tiny study has been run to its paper."""
    return runs["tiny"].folder


@pytest.fixture(scope="session")
def again(runs: dict[str, BackgroundRun]) -> Path:
    """A folder in which that part was run; while it is verified, Snakemake's lock is on it."""
    return runs["again"].ended()


@pytest.fixture(scope="session")
def verified(again: Path, runs: dict[str, BackgroundRun]) -> str:
    """What `verify` printed there, which has ended well."""
    runs["verified"].ended()
    return runs["verified"].said()


@pytest.fixture(scope="session")
def embedded(runs: dict[str, BackgroundRun]) -> Path:
    """A folder in which the embedded study's first figure was made by conda."""
    return runs["embedded"].ended()


@pytest.fixture(scope="session")
def queued(runs: dict[str, BackgroundRun]) -> Path:
    """A folder in which a smaller part was run through Slurm."""
    return runs["queued"].ended()


@pytest.fixture(scope="module")
def background_run(request: pytest.FixtureRequest, runs: dict[str, BackgroundRun]) -> BackgroundRun:
    """The run that this module gives."""
    return runs[request.module.__name__]


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[webdriver.Chrome]":
    """One browser for all tests that are marked `browser`."""
    from tests import browser  # selenium is for these alone

    driver = browser.start(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()
