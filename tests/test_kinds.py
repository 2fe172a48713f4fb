"""Kinds of experiments: a folder says all of itself, and shared code knows none of them."""

import ast
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from stable_regions.audit import provenance
from stable_regions.estimate import calibration
from stable_regions.experiments.kinds import KINDS, WAYS, module_of
from stable_regions.measures.distances import DISTANCES
from stable_regions.models.fused import FAMILIES
from stable_regions.sources.kinds import KINDS as SOURCES
from tests.tiny_study import ROOT

FOLDER = ROOT / "stable_regions" / "experiments"
# Names of experiments, which the paper's judgements are about.
NAMES = {
    "stable_regions/paper/findings.py": {"directions", "mixing", "robustness"},
    "stable_regions/paper/claims.py": {"depth"},  # of a model
    "stable_regions/paper/series.py": {"depth"},
    "stable_regions/__init__.py": {"plane"},  # a function
    "stable_regions/front/measuring.py": {"plane"},
    "stable_regions/front/terminal.py": {"plane"},
}


def test_the_folders_are_the_kinds() -> None:
    assert list(KINDS) == sorted(
        path.name for path in FOLDER.iterdir() if (path / "settings.py").exists()
    )
    assert module_of("unheard", "sample") is None


def test_paths_have_the_paper_s_steps_where_nothing_is_said() -> None:
    defaults = {name: kind.model_fields.get("steps") for name, kind in KINDS.items()}
    given = [each.default for each in defaults.values() if each and not each.is_required()]
    assert given == [50] * len(given)
    assert len(given) > 3


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


# What shares a name with one of them: the twins of the table of models, kinds of prompts and of
# corpora, how works are drawn, a group of jobs, the schedule and the architecture of a training, a
# measure of predictions, a tokenizer, packages of the configuration, random bases, angles.
TWINS = ("claims", "findings", "ledger", "series")
NAMESAKES: dict[str, set[str]] = {
    **{f"stable_regions/paper/{name}.py": {"random"} for name in TWINS},
    "paper/sections/limits.typ": {"package", "packages", "random"},
    "stable_regions/prompts/settings.py": {"random"},
    "scripts/make_prompts.py": {"random"},
    "stable_regions/sources/settings.py": {"hub", "local", "package", "random"},
    "scripts/read_corpus.py": {"package"},
    "stable_regions/sources/hub.py": {"random"},
    "rules/fetch.smk": {"packages"},
    "rules/train.smk": {"train"},
    "stable_regions/study/work.py": {"train"},
    "stable_regions/front/files.py": {"hub", "packages", "random"},
    "stable_regions/models/load.py": {"local"},
    "stable_regions/training/settings.py": {"cosine"},
    "stable_regions/sources/models/train.py": {"cosine", "llama"},
    "stable_regions/experiments/interpolation/measure.py": {"jensen_shannon"},
    "stable_regions/experiments/interpolation/predictions.py": {"jensen_shannon"},
    "stable_regions/experiments/directions/measure.py": {"jensen_shannon", "random"},
    "stable_regions/experiments/directions/settings.py": {"random"},
    "stable_regions/experiments/directions/tables.py": {"jensen_shannon"},
    "stable_regions/experiments/mixing/measure.py": {"angle"},
    "stable_regions/experiments/mixing/tables.py": {"angle"},
    "stable_regions/figures/figA_directions.py": {"random"},
    "stable_regions/figures/figA_mixing.py": {"angle"},
    "paper/sections/directions.typ": {"jensen_shannon", "random"},
    "paper/sections/meaning.typ": {"jensen_shannon"},
    "stable_regions/sources/gguf_file.py": {"llama"},
    "stable_regions/models/shapes.py": {"gemma2", "gemma3_text"},  # defaults of all, without torch
}


@pytest.mark.parametrize(
    ("names", "registry"),
    [
        (SOURCES, "sources/models"),
        (DISTANCES, "measures/distances.py"),
        (FAMILIES, "models/fused.py"),
    ],
)
def test_shared_code_names_no_source_distance_or_family(
    names: Collection[str], registry: str
) -> None:
    result = {}
    for path in [*ROOT.glob("stable_regions/**/*.py"), *ROOT.glob("scripts/*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        result[path] = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    for path in [ROOT / "Snakefile", *ROOT.glob("rules/*.smk"), *ROOT.glob("paper/**/*.typ")]:
        result[path] = set(re.findall(r'"([\w-]+)"', path.read_text(encoding="utf-8")))
    named = {
        name: some
        for path, texts in result.items()
        if not path.is_relative_to(ROOT / "stable_regions" / registry)
        and (name := path.relative_to(ROOT).as_posix())
        and (some := (texts & set(names)) - NAMESAKES.get(name, set()))
    }
    assert named == {}


def test_the_modules_are_the_sources_of_models() -> None:
    modules = (ROOT / "stable_regions" / "sources" / "models").glob("[!_]*.py")
    assert list(SOURCES) == sorted(path.stem for path in modules)


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
