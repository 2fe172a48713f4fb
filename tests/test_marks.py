"""A test that does what its marks do not say fails."""

import re
import socket
import subprocess
import sys

import pytest

from tests import marks
from tests.tiny_study import ROOT


@pytest.mark.parametrize(
    ("command", "mark"),
    [
        ([sys.executable, "-m", "snakemake", "--version"], "workflow"),
        ([".venv/bin/snakemake", "--version"], "workflow"),
        (["sbatch", "--version"], "slurm"),
        (["chromedriver", "--version"], "browser"),
        ([sys.executable, "--version"], "process"),
    ],
)
def test_an_unmarked_test_starts_nothing_that_needs_a_mark(command: list[str], mark: str) -> None:
    with pytest.raises(AssertionError, match=f"to be marked `{mark}`"):
        subprocess.run(command, capture_output=True)


def test_an_unmarked_test_serves_nothing() -> None:
    with socket.socket() as place, pytest.raises(AssertionError, match="to be marked `hub`"):
        place.bind(("127.0.0.1", 0))


@pytest.mark.workflow
def test_a_marked_one_may() -> None:
    subprocess.run([sys.executable, "-m", "snakemake", "--version"], check=True)


@pytest.mark.hub
def test_one_with_another_mark_may_start_python() -> None:
    subprocess.run([sys.executable, "--version"], check=True)


def test_make_unit_leaves_out_every_mark() -> None:
    [chosen] = re.findall(r'-m "not \((.*)\)"', (ROOT / "Makefile").read_text())
    ours = re.findall(r'^    "(\w+): ', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert chosen.split(" or ") == ours


def test_what_tests_share_may_do_whatever_a_mark_allows() -> None:
    submit = [sys.executable, "-c", "", "sbatch"]
    with marks.anything():
        subprocess.run(submit, check=True)
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
    with pytest.raises(AssertionError, match="to be marked `slurm`"):
        subprocess.run(submit)
