"""What a machine must have: a Python, room on its disk, memory. What it lacks is said first."""

import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from stable_regions.base.errors import UserError
from stable_regions.estimate import capacity, workload
from stable_regions.estimate.workload import Source, Sweep, Work
from stable_regions.models.shapes import Shape
from tests.tiny_study import CONFIG, ROOT, make_sources, snakemake

SHAPE = Shape(model_type="llama", layers=4, width=8, heads=2, mlp=16, vocabulary=100, tied=True)
Usage = namedtuple("Usage", "total used free")
# What make tells a make that it starts.
MAKE = re.compile("MAKE|MFLAGS")


def test_a_study_needs_what_all_its_jobs_leave_and_its_largest_one_holds() -> None:
    sweep = Sweep("paths", "float64", 1000, (0,))
    works = [
        Work("interpolation", "m", jobs=1, threads=1, loads=1, sweeps=[sweep]),
        Work("activations", "m", jobs=1, threads=1, loads=1, tokens=10, vectors=7),
        Work("interpolation", "unknown", jobs=1, threads=1, loads=1, sweeps=[sweep]),
    ]
    disk, memory = workload.disk_and_memory(
        works, {"m": SHAPE}, {"m": Source(download=5, disk=11)}, budget=100
    )
    assert disk == 11 + 4 * (4 * 1000 + 7 * 8)
    assert memory == 600 * 10**6 + (4 + 8) * SHAPE.weights + 200  # in both dtypes, and batches


def test_what_is_there_need_not_fit_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free=3 * 10**9))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(bytes(500))
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b" / "file")
    assert 500 <= capacity.bytes_below([tmp_path / "a", tmp_path / "none"]) < 1000
    capacity.check_disk(5 * 10**9, existing=2 * 10**9)
    with pytest.raises(UserError, match=r"the study needs 3.5 GB more, and 3 GB are free here"):
        capacity.check_disk(5 * 10**9, existing=15 * 10**8)


@pytest.mark.parametrize(("limit", "least"), [("max\n", None), (f"{2 * 10**9}\n", 2 * 10**9)])
def test_a_containers_memory_is_its_limit(
    limit: str, least: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(capacity, "LIMIT", tmp_path / "memory.max")
    here = min(installed, least or installed)
    assert capacity.memory_here() == here
    capacity.check_memory(here)
    with pytest.raises(UserError, match="largest job needs .* GB, and this machine has .* GB"):
        capacity.check_memory(here + 1)


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"experiments": {"planes": {"resolution": 10**9}}}, "study tiny: the disk is too small"),
        (
            {"compute": {"memory_budget_mb": 10**9, "device": "cpu"}},
            "study tiny: the memory is too small",
        ),
    ],
)
def test_a_study_without_room_does_not_begin(change: dict, said: str, tmp_path: Path) -> None:
    make_sources(tmp_path)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(change))
    done = snakemake(tmp_path, "--configfile", str(CONFIG), str(overlay))
    assert done.returncode != 0
    assert len([line for line in done.stderr.splitlines() if said in line]) == 1
    assert "Traceback" not in done.stderr
    assert not any((tmp_path / made).exists() for made in ("results", "resources", "logs"))


def set_up(tmp_path: Path, change: str) -> subprocess.CompletedProcess[str]:
    """`make setup` of a copy, by this Python after a line of code has changed something of it."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    shutil.copy(ROOT / "tools" / "check_machine.py", tmp_path / "tools")
    python = tmp_path / "python"
    code = f"import runpy, shutil, sys; {change}; runpy.run_path(sys.argv[1])"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$@\"\n")
    python.chmod(0o755)
    # `make test` runs this: the make here is to say no more than one that a person starts.
    environment = {name: value for name, value in os.environ.items() if not MAKE.match(name)}
    return subprocess.run(
        ["make", "setup", f"PYTHON={python}"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            'sys.version_info = (3, 10, 2); sys.version = "3.10.2 (main)"',
            "error: Python 3.11 to 3.13 is needed; ",
        ),
        ('sys.version_info = (3, 14, 0); sys.version = "3.14.0"', " is 3.14.0 (`make PYTHON="),
        (
            "shutil.disk_usage = lambda _: shutil._ntuple_diskusage(0, 0, 10**9)",
            "error: .venv takes 2.3 GB of disk; 1.0 GB are free here",
        ),
    ],
)
def test_what_cannot_be_set_up_is_one_line(change: str, said: str, tmp_path: Path) -> None:
    done = set_up(tmp_path, change)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert said in line
    assert not (tmp_path / ".venv").exists()
