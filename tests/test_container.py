"""The recipe of a container installs the lock and nothing else."""

import re

from tests.tiny_study import ROOT
from tools import lock


def test_the_recipe_installs_the_lock_and_nothing_else() -> None:
    text = (ROOT / "envs" / "Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    steps = [line.split() for line in lines]
    assert [step[0] for step in steps] == ["FROM", "COPY", "RUN", "RUN", "RUN", "ENV"]
    base, copied, torch, ran, then, _ = steps
    assert base[1].endswith(f"/python:{lock.PYTHON}-slim")  # what the environments have
    assert copied[1:] == ["requirements.lock", "/tmp/requirements.lock"]
    assert ran[1:5] == ["python", "-m", "pip", "install"]
    options = [word for word in ran[5:] if not word.startswith("--")]
    assert options == ["/tmp/requirements.lock"]
    assert "'^torch==[0-9.]*'" in torch
    assert "--require-hashes" in ran
    assert [word for word in then[5:] if not word.startswith("--")] == ["torch"]
