"""The conda environments pin the lock's versions, package by package."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
LOCK = dict(
    re.findall(r"^([a-z0-9-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pins_are_those_of_the_lock(path: Path) -> None:
    [pip] = [
        d["pip"]
        for d in yaml.safe_load(path.read_text())["dependencies"]
        if "pip" in d and d != "pip"
    ]
    drifted = [pin for pin in pip if LOCK.get(pin.partition("==")[0]) != pin.partition("==")[2]]
    assert not drifted, "`python tools/lock.py envs` writes them anew"


def test_every_environment_of_a_rule_is_there() -> None:
    named = {
        name
        for rules in (ROOT / "rules").glob("*.smk")
        for name in re.findall(r'"\.\./envs/([\w-]+)\.yaml"', rules.read_text())
    }
    assert named
    assert named <= {path.stem for path in ENVIRONMENTS}


def test_the_lock_pins_what_is_installed_and_asked_for() -> None:
    asked = re.findall(r"^([A-Za-z0-9-]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    assert {name.lower() for name in asked} <= set(LOCK)
    assert LOCK["torch"] == "2.13.0"


@pytest.mark.parametrize("kind", ["clustering", "figures", "paper"])
def test_only_the_model_environment_has_torch(kind: str) -> None:
    assert "torch==" not in (ROOT / "envs" / f"{kind}.yaml").read_text()


def test_the_environments_are_what_the_lock_gives() -> None:
    """`tools/lock.py` would write the files as they are."""
    code = (
        "import sys; sys.path.insert(0, 'tools'); import lock; from pathlib import Path\n"
        "sys.exit([k for k in lock.KINDS if "
        "Path('envs', f'{k}.yaml').read_text() != lock.environment(k, lock.read_lock())] or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
