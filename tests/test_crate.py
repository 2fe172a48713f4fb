"""The copy of the code in a study's RO-Crate is enough to run the study again."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stable_regions.audit import crate
from stable_regions.base.files import sha256
from tests.tiny_study import ROOT

# What tells how the code is set up, run, checked and read.
TELLING = (
    "Makefile", "Snakefile", "config.yaml", "pyproject.toml", "*.md", "rules/*.smk",
    "docs/*.md", "profiles/*/*.yaml", "tools/*.py",
)  # fmt: skip
MADE = ("results", "resources", "logs", "site")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("crate") / "workflow"
    crate.copy_code(target)
    return target


def test_the_copy_holds_every_file_of_the_repository(copy: Path) -> None:
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(git, capture_output=True, text=True, encoding="utf-8", check=False)
    if listed.returncode:
        pytest.skip("this checkout is no Git repository")
    tracked = [Path(name) for name in listed.stdout.split("\0") if name]
    visible = {p for p in tracked if not any(part.startswith(".") for part in p.parts)}
    assert visible <= {path.relative_to(copy) for path in copy.rglob("*")}


def named(path: Path) -> Iterator[Path]:
    """The files and folders of this checkout that a file names, from its own place or the top."""
    for word in set(re.findall(r"[\w./-]*\w", path.read_text(encoding="utf-8"))):
        for place in (ROOT, path.parent):
            result = (place / word).resolve()
            if word[0] not in "./" and result.exists():
                yield result.relative_to(ROOT)


def test_what_the_code_names_is_in_the_copy(copy: Path) -> None:
    telling = [path for pattern in TELLING for path in ROOT.glob(pattern)]
    expected = {name for path in telling for name in named(path) if name.parts[0] not in MADE}
    assert {
        Path("tools/check_machine.py"),
        Path("requirements.in"),
        Path("docs/clusters.md"),
    } < expected
    assert [name for name in sorted(expected) if not (copy / name).exists()] == []


@pytest.mark.workflow
def test_the_copy_can_be_set_up_and_run(copy: Path) -> None:
    lines = subprocess.run(
        ["make", "--dry-run", "setup", f"PYTHON={sys.executable}"],
        cwd=copy, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    [check] = [line for line in lines if "check_machine.py" in line]
    subprocess.run(check, shell=True, cwd=copy, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--quiet"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.workflow
def test_the_crate_alone_gives_the_first_figure_again(tiny: Path, tmp_path: Path) -> None:
    """Its code makes the tiny models and the figure, in a folder where nothing else is."""
    code = tmp_path / "workflow"
    shutil.copytree(tiny / "results/tiny/workflow", code)
    sources = "from pathlib import Path; from tests.tiny_study import *; make_sources(Path())"
    figure = "results/tiny/figures/fig2"
    study = ["-m", "snakemake", "--configfile", "tests/tiny/config.yaml", "--cores", "2"]
    for asked in (["-c", sources], [*study, "--", f"{figure}.pdf"]):
        done = subprocess.run(
            [sys.executable, *asked], cwd=code, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    for ending in ("csv", "pdf", "png"):
        assert sha256(code / f"{figure}.{ending}") == sha256(tiny / f"{figure}.{ending}")
