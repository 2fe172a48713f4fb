"""Kinds of experiments: a folder says all of itself, and shared code knows none of them."""

import ast
import re
from pathlib import Path

import pytest

from stable_regions.audit import provenance
from stable_regions.estimate import calibration
from stable_regions.experiments.kinds import KINDS, WAYS, module_of
from tests.tiny_study import ROOT

FOLDER = ROOT / "stable_regions" / "experiments"
# Names of experiments, which the paper's judgements are about.
NAMES = {"stable_regions/paper/findings.py": {"robustness"}}


def test_the_folders_are_the_kinds() -> None:
    assert list(KINDS) == sorted(
        path.name for path in FOLDER.iterdir() if (path / "settings.py").exists()
    )
    assert module_of("unheard", "sample") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_measures_and_gathers(kind: str) -> None:
    assert callable(module_of(kind, "measure").measure)
    gather = KINDS[kind].module("gather").removeprefix("stable_regions.experiments.")
    tables = KINDS[kind].ending == "parquet"
    assert gather == ("gather" if tables else f"{kind}.gather")


def test_every_way_of_running_points_can_be_timed() -> None:
    assert calibration.functions().keys() == WAYS.keys()


def test_shared_code_names_no_kind() -> None:
    named = {}
    for path in [*ROOT.glob("stable_regions/**/*.py"), *ROOT.glob("scripts/*.py")]:
        if path.is_relative_to(FOLDER) or path.parent.name == "figures":  # of experiments
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        name = path.relative_to(ROOT).as_posix()
        if result := (texts & KINDS.keys()) - NAMES.get(name, set()):
            named[name] = result
    for path in (ROOT / "Snakefile", *ROOT.glob("rules/*.smk")):
        texts = set(re.findall(r'"(\w+)"', path.read_text(encoding="utf-8")))
        if result := texts & KINDS.keys():
            named[path.name] = result
    assert named == {}


def test_what_one_kind_measures_does_not_follow_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> dict[str, str]:
        script = ROOT / "scripts" / "measure.py"
        return {
            name: provenance.code_digest(script, kind.module("measure"))
            for name, kind in KINDS.items()
        }

    before, read = digests(), Path.read_text

    def edited(path: Path, *args: str, **kwargs: str) -> str:
        return read(path, *args, **kwargs) + "x = 1\n" * (
            path.parts[-2:] == ("plane", "measure.py")
        )

    monkeypatch.setattr(Path, "read_text", edited)
    after = digests()
    assert {name for name in KINDS if after[name] != before[name]} == {"plane"}
