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


@pytest.mark.parametrize(
    ("own", "files", "least"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": "2000000000\n"}, 2 * 10**9),
        # a group in a group: the narrower one counts, whichever it is
        ("0::/a/b\n", {"a/memory.max": "2000000000\n", "a/b/memory.max": "max\n"}, 2 * 10**9),
        ("0::/a/b\n", {"a/memory.max": "max\n", "a/b/memory.max": "3000000000\n"}, 3 * 10**9),
        # the first version, seen from outside and from within a container
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "2000000000\n"}, 2 * 10**9),
        ("4:memory:/no\n", {"memory/memory.limit_in_bytes": "2000000000\n"}, 2 * 10**9),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, None),
        ("1:cpu:/a\n", {"cpu/a/memory.limit_in_bytes": "5\n"}, None),
        (None, {}, None),  # no Linux
    ],
)
def test_a_containers_memory_is_its_limit(
    own: str | None,
    files: dict[str, str],
    least: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(capacity, "GROUPS", tmp_path)
    monkeypatch.setattr(capacity, "OWN", tmp_path / "own")
    here = min(installed, least or installed)
    assert capacity.memory_here() == here
    capacity.check_memory(here)
    with pytest.raises(UserError, match="largest job needs .* GB, and this machine has .* GB"):
        capacity.check_memory(here + 1)


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": {"planes": {"resolution": 10**9}}}, "study tiny: the disk is too small"),
        (
            {"compute": {"memory_budget_mb": 10**9, "device": "cpu"}},
            "study tiny: the memory is too small",
        ),
    ],
)
def test_a_study_without_room_does_not_begin(change: dict, message: str, tmp_path: Path) -> None:
    make_sources(tmp_path)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(change))
    done = snakemake(tmp_path, "--configfile", str(CONFIG), str(overlay))
    assert done.returncode != 0
    assert len([line for line in done.stderr.splitlines() if message in line]) == 1
    assert "Traceback" not in done.stderr
    assert not any((tmp_path / made).exists() for made in ("results", "resources", "logs"))


def set_up(tmp_path: Path, change: str) -> subprocess.CompletedProcess[str]:
    """`make setup` of a copy, by this Python after a line of code has changed something of it."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    for name in ("check_machine.py", "find_python.sh"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
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
    ("change", "message"),
    [
        (
            'sys.version_info = (3, 10, 2); sys.version = "3.10.2 (main)"',
            "error: Python 3.11 to 3.13 is needed, and ",
        ),
        (
            'sys.version_info = (3, 14, 0); sys.version = "3.14.0"',
            " is 3.14.0: install one (python3.13 ",
        ),
        (
            "shutil.disk_usage = lambda _: shutil._ntuple_diskusage(0, 0, 10**9)",
            "error: .venv takes 2.3 GB of disk; 1.0 GB are free here",
        ),
    ],
)
def test_what_cannot_be_set_up_is_one_line(change: str, message: str, tmp_path: Path) -> None:
    done = set_up(tmp_path, change)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert message in line
    assert not (tmp_path / ".venv").exists()


def programs(folder: Path, **versions: str) -> Path:
    """A folder of Pythons that say of themselves which they are, and of what else is needed."""
    folder.mkdir()
    for name, version in versions.items():
        numbers = version.replace(".", ", ")
        code = f"import sys; sys.version_info = ({numbers}); exec(sys.argv[1])"
        (folder / name).write_text(f"#!/bin/sh\nshift\nexec {sys.executable} -c '{code}' \"$@\"\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("versions", "taken"),
    [
        ({"python3": "3.11.2"}, "python3"),
        ({"python3": "3.14.0", "python3.12": "3.12.1", "python3.11": "3.11.2"}, "python3.12"),
        ({"python3": "3.9.1", "python": "3.13.0"}, "python"),
        ({"python3": "3.14.0"}, "python3"),  # which `check_machine` refuses
        ({}, "python3"),
    ],
)
def test_a_python_that_serves_is_found(versions: dict, taken: str, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", **versions)
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "tools" / "find_python.sh")],
        env={"PATH": str(path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{taken}\n", "")


def test_uv_is_asked_for_a_python_if_the_path_has_none(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", python3="3.14.0")
    (path / "uv").write_text("#!/bin/sh\necho /managed/python3.13\n")
    (path / "uv").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "tools" / "find_python.sh")],
        env={"PATH": str(path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "/managed/python3.13\n"


def checkout(tmp_path: Path) -> Path:
    """A copy whose lock holds nothing but this machine's pip, and what make is to find after it."""
    folder = tmp_path / "checkout"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("check_machine.py", "find_python.sh"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    (folder / "requirements.lock").write_text("")
    return folder


def make(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not MAKE.match(name)}
    return subprocess.run(
        ["make", "setup", f"PYTHON={sys.executable}"],
        cwd=folder, env=kept | environment, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.process
def test_an_environment_without_its_programs_is_not_complete(tmp_path: Path) -> None:
    """As where pip's configuration puts packages elsewhere: nothing of the lock is in it."""
    folder = checkout(tmp_path)
    done = make(folder)
    assert done.returncode != 0
    assert "error: pip put the packages elsewhere" in done.stderr
    assert not (folder / ".venv" / ".complete").exists()


@pytest.mark.process
def test_a_checkout_that_was_moved_is_set_up_again(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    assert make(folder).returncode != 0  # made, but for what the lock would bring
    (folder / ".venv" / ".complete").touch()
    assert "Setting up" not in make(folder).stdout
    moved = folder.rename(tmp_path / "moved")
    assert "Setting up" in make(moved).stdout


@pytest.mark.process
def test_the_set_up_leaves_alone_what_a_link_points_to(tmp_path: Path) -> None:
    folder, another = checkout(tmp_path), tmp_path / "another"
    another.mkdir()
    (another / "python").touch()
    (folder / ".venv").symlink_to(another)
    make(folder)
    assert (another / "python").exists()
    assert not (folder / ".venv").is_symlink()


def test_the_set_up_has_its_own_settings_and_a_user_by_some_name(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (folder / "requirements.lock").unlink()
    (folder / "Makefile").write_text(
        (ROOT / "Makefile").read_text().partition("reproduce:")[0] + "shown:\n\t@env\n"
    )
    foreign = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    kept = {name: value for name, value in os.environ.items() if not MAKE.match(name)}
    changed = dict.fromkeys(foreign, "/else") | {"PIP_USER": "1"}
    for name in ("USER", "HOME"):
        kept.pop(name, None)
    done = subprocess.run(
        ["make", "shown"], cwd=folder, env={**kept, **changed},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert not set(foreign) & set(shown)
    assert shown["PIP_USER"] == "0"
    assert shown["USER"]
    assert shown["HOME"] == str(folder)
