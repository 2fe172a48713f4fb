"""The other Pythons that README promises: all comes as wheels there, and figures are the same.

The whole suite runs on another by `make test PYTHON=python3.13` in a checkout without `.venv`.
"""

import json
import re
import runpy
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from stable_regions.base.files import read_json, sha256
from tests.test_environments import LOCK
from tests.tiny_study import ROOT

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHERS = sorted({"3.11", "3.12", "3.13"} - {HERE})
FIGURES = ["fig2", "fig3", "figA_clusters"]
# What `scripts/draw_figure.py` does, without Snakemake.
DRAW = """
import json
import sys
from importlib import import_module
import pandas as pd
sys.path.insert(0, sys.argv[1])
from stable_regions.figures import style
for name, paths in json.loads(sys.argv[2]).items():
    data, figure = import_module(f"stable_regions.figures.{name}").draw(
        *(pd.read_csv(path) for path in paths),
        **({"similar": ["S1", "S2", "S3"]} if name == "fig2" else {}),
    )
    style.save(figure, data, *(f"{name}.{kind}" for kind in ("csv", "pdf", "png")))
"""


def wheels(version: str, pins: list[str], where: Path) -> subprocess.CompletedProcess[str]:
    """Look on the index for wheels for a version of Python; nothing is installed."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
         "--only-binary=:all:", "--python-version", version, "--target", str(where), "--retries",
         "0", "--quiet", "--disable-pip-version-check", *pins],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def bound(name: str) -> bool:
    """Whether the wheel of a package is for one version of Python, and not for later ones too."""
    tags = re.findall(r"^Tag: (\S+)$", metadata.distribution(name).read_text("WHEEL") or "", re.M)
    return not any(tag.startswith("py") or "-abi3-" in tag for tag in tags)


@pytest.mark.hub
@pytest.mark.parametrize("version", OTHERS)
def test_everything_comes_as_a_wheel(version: str, tmp_path: Path) -> None:
    pins = [f"{name}=={LOCK[name]}" for name in LOCK if bound(name)]
    assert len(pins) > 20
    result = wheels(version, pins, tmp_path)
    if result.returncode and wheels(HERE, pins[:1], tmp_path).returncode:
        pytest.skip("no package index answers here")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("version", OTHERS)
def test_every_package_allows_it(version: str) -> None:
    needed = {name: metadata.distribution(name).metadata["Requires-Python"] for name in LOCK}
    refusing = [
        n for n, message in needed.items() if not SpecifierSet(message or "").contains(version)
    ]
    assert refusing == []


@pytest.mark.parametrize("version", [HERE, *OTHERS])
def test_the_lock_is_complete(version: str) -> None:
    """No package needs one there that the lock has not."""
    closure = runpy.run_path(str(ROOT / "tools" / "lock.py"))["closure"]
    assert set(closure(LOCK, python=version)) == set(LOCK)


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or one of pyenv's."""
    asked = [shutil.which(f"python{version}")]
    asked += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for python in filter(None, asked):
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.process
@pytest.mark.parametrize("version", ["2.7", "3.6", "3.10"])
def test_one_that_is_too_old_says_so(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    done = subprocess.run(
        [python, ROOT / "tools" / "check_machine.py"], capture_output=True, text=True
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert re.match(rf"error: Python 3.11 to 3.13 is needed, and \S+ is {version}\.", line)


@pytest.mark.parametrize("version", OTHERS)
def test_figures_are_the_same_bytes(version: str, tiny: Path, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    [pins] = [
        each["pip"]
        for each in yaml.safe_load((ROOT / "envs" / "figures.yaml").read_text())["dependencies"]
        if isinstance(each, dict)
    ]
    (tmp_path / "pins").write_text("\n".join(pins))
    own = tmp_path / "venv" / "bin" / "python"
    records = {
        name: read_json(tiny / "logs" / "tiny" / "figures" / f"{name}.record.json")
        for name in FIGURES
    }
    tables = {
        name: [str(tiny / file["path"]) for file in record["input"]["files"]]
        for name, record in records.items()
    }
    for command in (
        [python, "-m", "venv", "--without-pip", str(tmp_path / "venv")],
        [sys.executable, "-m", "pip", "--python", own, "install", "--quiet", "--no-deps",
         "--no-compile", "-r", str(tmp_path / "pins")],
        [own, "-c", DRAW, ROOT, json.dumps(tables)],
    ):  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for record in records.values():
        for file in record["output"]["files"]:
            assert sha256(tmp_path / Path(file["path"]).name) == file["sha256"], file["path"]
    shutil.rmtree(tmp_path / "venv")
