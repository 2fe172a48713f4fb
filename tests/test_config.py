"""The configuration: what is shipped is right, and each mistake is one clear line."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stable_regions.base.errors import UserError
from stable_regions.study import config
from tests.bad_input import SHIPPED, refused
from tests.models import make_model

ROOT = Path(__file__).parent.parent


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(SHIPPED)


@pytest.mark.skipif(not hasattr(yaml, "CFullLoader"), reason="this PyYAML has no loader in C")
@pytest.mark.parametrize("path", ["config.yaml", "tests/tiny/config.yaml"])
def test_the_loader_in_c_that_the_snakefile_takes_gives_the_same_values(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    plain, in_c = (yaml.load(text, Loader=one) for one in (yaml.FullLoader, yaml.CFullLoader))
    assert repr(plain) == repr(in_c)


def test_the_shipped_configuration_is_right(raw: dict[str, Any]) -> None:
    loaded = config.load(raw)
    assert loaded.selected() == loaded.studies["embedded"]


def put(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for key in parents:
        raw = raw[key]
    raw[last] = value


MISTAKES = {
    "unknown study": ("study", "nowhere", "study | 'nowhere'"),
    "unknown key at the top": ("modles", {}, "modles | {}"),
    "unknown key in a model": (
        "models/smollm2-135m/dytpe", "float32", "models.smollm2-135m.dytpe | 'float32'",
    ),
    "unknown key in a source": (
        "models/smollm2-135m/source/sha", "x", "models.smollm2-135m.source.sha | 'x'",
    ),
    "unknown dtype": (
        "models/smollm2-135m/dtype", "flot32",
        "models.smollm2-135m.dtype | 'flot32'",
    ),
    "unknown kind of source": (
        "models/smollm2-135m/source/kind", "ftp", "models.smollm2-135m.source.kind | 'ftp'",
    ),
    "a model that a study names": (
        "studies/embedded/experiments/sharpness", ["gpt5"],
        "studies.embedded.experiments.sharpness | 'gpt5' | gemma-2-2b",
    ),
    "a checkpoint that there is not": (
        "studies/embedded/experiments/training", ["suite-d4-w64@step3"],
        "studies.embedded.experiments.training | 'suite-d4-w64@step3' | suite-d4-w64@last",
    ),
    "a revision of a model without any": (
        "studies/embedded/experiments/training", ["smollm2-135m@main"],
        "studies.embedded.experiments.training | 'smollm2-135m@main'",
    ),
    "an experiment that a study names": (
        "studies/embedded/experiments/sharpnes", ["smollm2-135m"],
        "studies.embedded.experiments.sharpnes | 'sharpnes'",
    ),
    "a study's experiment without models": (
        "studies/embedded/experiments/sharpness", [],
        "studies.embedded.experiments.sharpness | no model",
    ),
    "a negative count": (
        "experiments/sharpness/pairs", -5,
        "experiments.sharpness.pairs | -5",
    ),
    "one step": ("experiments/sharpness/steps", 1, "experiments.sharpness.steps | 1"),
    "a negative layer": (
        "experiments/sharpness/layers", [-2], "experiments.sharpness.layers.0 | -2",
    ),
    "no layers": ("experiments/sharpness/layers", [], "experiments.sharpness.layers | []"),
    "more pairs than prompts": (
        "experiments/sharpness/pairs", 10**6,
        "experiments.sharpness.pairs | 1000000 | 1000",
    ),
    "text for a number": (
        "experiments/sharpness/steps", "50", "experiments.sharpness.steps | '50'",
    ),
    "an unknown prompt set": (
        "experiments/sharpness/prompts", "rnd",
        "experiments.sharpness.prompts | 'rnd'",
    ),
    "an unknown corpus": (
        "prompts/random/corpus", "novels", "prompts.random.corpus | 'novels'",
    ),
    "a SHA-256 that is none": (
        "packages/shakespeare/sha256", "abc", "packages.shakespeare.sha256 | 'abc'",
    ),
    "a twin of nothing": (
        "models/smollm2-135m-random/source/like", "x",
        "models.smollm2-135m-random.source.like | 'x'",
    ),
    "a twin of a twin": (
        "models/smollm2-135m-random/source/like", "smollm2-135m-random",
        "models.smollm2-135m-random.source.like | 'smollm2-135m-random' | 'random'",
    ),
    "a width that the heads do not divide": (
        "models/suite-d4-w64/source/heads", 3,
        "models.suite-d4-w64.source.width | 64",
    ),
    "an odd width of heads": (
        "models/suite-d4-w64/source/heads", 64,
        "models.suite-d4-w64.source.heads | 64",
    ),
    "a learning rate of nothing": (
        "models/suite-d4-w64/source/learning_rate", 0.0,
        "models.suite-d4-w64.source.learning_rate | 0.0",
    ),
    "checkpoints that fall": (
        "models/suite-d4-w64/source/checkpoints", [0, 200, 100, 800],
        "models.suite-d4-w64.source.checkpoints | (0, 200, 100, 800)",
    ),
    "checkpoints that stop early": (
        "models/suite-d4-w64/source/checkpoints", [0, 400],
        "models.suite-d4-w64.source.checkpoints | (0, 400)",
    ),
    "a warm-up beyond the steps": (
        "models/suite-d4-w64/source/warmup", 801,
        "models.suite-d4-w64.source.warmup | 801",
    ),
    "a model named twice": (
        "studies/embedded/experiments/sharpness", ["smollm2-135m", "smollm2-135m"],
        "studies.embedded.experiments.sharpness | 'smollm2-135m'",
    ),
    "a checkpoint named again": (
        "studies/embedded/experiments/training", ["suite-d4-w64@*", "suite-d4-w64@last"],
        "studies.embedded.experiments.training | 'suite-d4-w64@step800'",
    ),
    "an experiment named like a part of a table": (
        "experiments/my_run", {"kind": "interpolation", "prompts": "random"},
        "experiments.my_run | '_'",
    ),
    "an experiment named like a table": (
        "experiments/models", {"kind": "interpolation", "prompts": "random"},
        "experiments.models | 'models'",
    ),
    "a name that is a path": ("models/..%2Fx", {}, "models | '..%2Fx'"),
    "a commit that is none": (
        "models/qwen2-0.5b/source/commit", "main", "models.qwen2-0.5b.source.commit | 'main'",
    ),
    "a repository that is a link": (
        "models/qwen2-0.5b/source/repository", "https://hub/Qwen/Qwen2-0.5B",
        "models.qwen2-0.5b.source.repository | 'https://hub",
    ),
    "a checkpoint of a model on the hub without any": (
        "studies/paper/experiments/sharpness", ["qwen2-0.5b@main"],
        "studies.paper.experiments.sharpness | 'qwen2-0.5b@main'",
    ),
    "a checkpoint of a model on the hub that there is not": (
        "studies/paper/experiments/training", ["olmo-1b-0724@step1"],
        "studies.paper.experiments.training | 'olmo-1b-0724@step1' | olmo-1b-0724@last",
    ),
    "a draw of books that there is not": (
        "corpora/books/draw", "all", "corpora.books.draw | 'all'",
    ),
    "a change of nothing": (
        "studies/paper/changes/sharpnes", {}, "studies.paper.changes | 'sharpnes'",
    ),
    "a change that the study does not run": (
        "studies/families/changes/size", {}, "studies.families.changes | 'size'",
    ),
    "an unknown key in a change": (
        "studies/paper/changes/size", {"pears": 9}, "studies.paper.changes.size.pears | 9",
    ),
    "a wrong value in a change": (
        "studies/paper/changes/size", {"pairs": -1}, "studies.paper.changes.size.pairs | -1",
    ),
    "a change of kind": (
        "studies/paper/changes/size", {"kind": "plane"},
        "studies.paper.changes.size.kind | 'plane'",
    ),
    "more pairs in a change than prompts": (
        "studies/paper/changes/size", {"pairs": 1001},
        "studies.paper.changes.size.pairs | 1001",
    ),
    "nothing in a section": ("experiments", None, "experiments | None"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_place(raw: dict[str, Any], mistake: str) -> None:
    path, value, expected = MISTAKES[mistake]
    put(raw, path, value)
    with refused(f"config.yaml: | {expected}"):
        config.load(raw)


def test_a_missing_key_is_named(raw: dict[str, Any]) -> None:
    del raw["models"]["smollm2-135m"]["licence"]
    with refused("models.smollm2-135m.licence | missing"):
        config.load(raw)


@pytest.mark.process
def test_a_configuration_is_checked_without_torch() -> None:
    program = "import sys, stable_regions.study.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_a_missing_path_is_one_line_if_the_study_reads_it(
    raw: dict[str, Any], tmp_path: Path
) -> None:
    make_model(tmp_path)
    for name in ("tokenizer.json", "a.txt"):
        (tmp_path / name).touch()
    here, there = str(tmp_path), str(tmp_path / "there")
    raw["models"]["smollm2-135m"]["source"] = {"kind": "local", "path": here}
    raw["corpora"]["bible"] = {"kind": "local", "path": here}
    raw["corpora"]["unread"] = {"kind": "local", "path": there}
    raw["studies"]["embedded"]["experiments"] = {"robustness": ["smollm2-135m-random"]}
    config.check_paths(config.load(raw))
    for place in (raw["models"]["smollm2-135m"]["source"], raw["corpora"]["bible"]):
        place["path"] = there
        with refused(f"path | {there!r}"):
            config.check_paths(config.load(raw))
        place["path"] = here
    raw["studies"]["embedded"]["experiments"] = {"training": ["suite-d4-w64@last"]}
    result = config.load(raw).local_sources()
    assert {key: source.place() for key, source in result.items()} == {"corpora.bible": here}


def test_refs_are_split() -> None:
    assert config.split_ref("olmo-1b@step1000-tokens4B") == ("olmo-1b", "step1000-tokens4B")
    assert config.split_ref("olmo-1b") == ("olmo-1b", None)


def test_a_revision_with_a_slash_is_one_part_of_a_path(raw: dict[str, Any]) -> None:
    source = raw["models"]["olmo-1b-0724"]["source"]
    source |= {"repository": "gpt2", "revision": "refs/convert/parquet"}
    source["checkpoints"] = ["refs/pr/1", "main"]
    raw["study"] = "paper"
    raw["studies"]["paper"]["experiments"] = {
        "training": ["olmo-1b-0724@*"], "size": ["olmo-1b-0724@refs/pr/1"],
    }  # fmt: skip
    raw["studies"]["paper"]["changes"] = {}
    loaded = config.load(raw)
    assert loaded.refs("training") == ["olmo-1b-0724@refs%2Fpr%2F1", "olmo-1b-0724@main"]
    assert loaded.refs("size") == loaded.refs("training")[:1]
    assert config.split_ref(loaded.refs("size")[0]) == ("olmo-1b-0724", "refs/pr/1")
    for wrong in ("refs/../x", "/x", "x/", "a//b"):
        source["checkpoints"] = [wrong]
        with pytest.raises(UserError, match="checkpoints"):
            config.load(raw)


def test_checkpoints_are_written_out(raw: dict[str, Any]) -> None:
    refs = ["suite-d4-w64@last", "smollm2-135m", "suite-d8-w64@*", "suite-d8-w32@step0"]
    raw["studies"]["embedded"]["experiments"]["training"] = refs
    result = config.load(raw).refs("training")
    assert result[:3] == ["suite-d4-w64@step800", "smollm2-135m", "suite-d8-w64@step0"]
    assert len(result) == 2 + 8 + 1


def test_a_study_s_changes_are_its_own(raw: dict[str, Any]) -> None:
    shipped = {
        name: entry["pairs"] for name, entry in raw["experiments"].items() if "pairs" in entry
    }
    assert {n: config.load(raw).experiments[n].pairs for n in shipped} == shipped
    raw["study"] = "paper"
    loaded = config.load(raw)
    assert loaded.experiments["training"].pairs == 1000 != shipped["training"]
    assert loaded.experiments["training"].prompts == "books"
    assert (
        loaded.experiments["examples"]
        == config.load(raw | {"study": "embedded"}).experiments["examples"]
    )


def test_a_key_of_any_length_and_aliases_without_end_are_one_short_line(
    raw: dict[str, Any],
) -> None:
    endless: Any = ["a"] * 9
    for _ in range(9):  # a billion values, of which each list is there once
        endless = [endless] * 9
    for key, value in (("k" * 10**6, 1), ("mine", endless)):
        with pytest.raises(UserError) as caught:
            config.load(raw | {"models": raw["models"] | {key: value}})
        assert "models." in str(caught.value)
        assert len(str(caught.value)) < 2000
