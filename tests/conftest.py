"""Fixtures that several modules share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from stable_regions.model import Model, load_model
from tests import browser
from tests.models import make_model
from tests.tiny_study import CONDA, make_sources, snakemake


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


@pytest.fixture(scope="session")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which it was run once more: more jobs at a time, and by conda if it is here."""
    folder = tmp_path_factory.mktemp("again")
    make_sources(folder)
    options = CONDA if shutil.which("conda") else []
    done = snakemake(folder, "--cores", "3", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests that are marked `browser.in_browser`."""
    driver = browser.start(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()
