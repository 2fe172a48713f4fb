"""The study that a configuration asks for: its jobs, what they ask for, and what comes of it."""

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stable_regions.base.errors import UserError
from stable_regions.base.files import write_json
from stable_regions.estimate import capacity
from stable_regions.estimate.watch import LIGHT
from stable_regions.models.load import placed
from stable_regions.sources import hub
from stable_regions.study import paths, resources, work
from stable_regions.study.study import Study, job_rules
from tests.tiny_study import ROOT, make_sources

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
# What each start of Snakemake would wait for.
SLOW = {"torch", "pandas", "numpy", "pyarrow", "tokenizers", "snakemake"}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """Load a study from an empty folder, with changes of the shipped configuration."""
    monkeypatch.chdir(tmp_path)

    def load(name: str = "embedded", **changes: dict[str, Any]) -> Study:
        raw = copy.deepcopy(SHIPPED) | {"study": name}
        for section, entries in changes.items():
            for key, change in entries.items():
                content = raw.setdefault(section, {}).get(key)
                raw[section][key] = content | change if isinstance(content, dict) else change
        return Study.load(raw, ROOT)

    return load


@pytest.mark.process
def test_a_study_is_loaded_without_what_is_slow_to_load() -> None:
    program = (
        "import sys; from stable_regions.study import paths, resources, study, work; "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not SLOW & set(done.stdout.split())


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("prompts", {"words": {"list": "no.yaml"}}, "prompts: list: holds 'no.yaml'; there is no"),
        ("study", "none", "study: no study 'none'"),
        ("modles", {}, "modles: unknown key"),
        ("experiments", {"sharpness": {"pairs": -1}}, "experiments.sharpness.pairs: holds -1"),
        (
            "experiments", {"sharpness": {"layers": [0, 29]}},
            "experiments.sharpness.layers: holds 29; smollm2-135m has 30 layers",
        ),
        (
            "experiments", {"words": {"blocks": 10_000}},
            "experiments.words.blocks: asks for 10000 prompts; the prompt set 'words' has ",
        ),
        ("corpora", {"bible": {"kind": "local", "path": "x"}}, "corpora.bible.path: holds 'x'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    section: str, change: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = copy.deepcopy(SHIPPED)
    if section in raw and isinstance(change, dict):
        for name, keys in change.items():
            kind = keys.get("kind", raw[section][name].get("kind"))
            same = kind == raw[section][name].get("kind")
            raw[section][name] = raw[section][name] | keys if same else keys
    else:
        raw[section] = change
    with pytest.raises(UserError) as error:
        Study.load(raw, ROOT)
    assert str(error.value).startswith("config.yaml: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_checkpoints_of_a_model_trained_here_share_a_job(study: Callable[..., Study]) -> None:
    ours = study()
    jobs = ours.measuring_jobs["training"]
    assert set(jobs) == set(ours.trained)
    assert [job.refs for job in jobs.values()] == [
        tuple(f"{name}@{step}" for step in source.revisions())
        for name, source in ours.trained.items()
    ]
    assert set(study("paper").measuring_jobs["training"]) >= {"olmo-1b-0724@main"}  # on its own
    size = ours.measuring_jobs["size"]["suite-d4-w64@step800"]
    assert size.refs == ("suite-d4-w64@step800",)
    assert ours.alike("suite-d4-w64@step800") == ours.alike("suite-d4-w64@step0") == "suite-d4-w64"
    assert ours.alike("smollm2-135m") == "smollm2-135m"


def test_shards_are_all_pairs_and_no_more_points_than_asked_for(
    study: Callable[..., Study],
) -> None:
    ours = study(compute={"shard_points": 3000})
    [job, *_] = ours.measuring_jobs["sharpness"].values()
    entry: Any = ours.entry("sharpness")
    points = entry.steps * len(entry.layers)
    assert job.sharded
    assert [first for first, _ in job.parts] == [0, *(end for _, end in job.parts[:-1])]
    assert job.parts[-1][1] == ours.points("sharpness") // points
    assert max(end - first for first, end in job.parts) == 3000 // points
    one = study(compute={"shard_points": 10**9}).measuring_jobs["sharpness"]
    assert not next(iter(one.values())).sharded


def matched(ours: Study, path: str) -> list[tuple[str, str]]:
    """The rules whose outputs a path may be, and the jobs that it says."""
    result = []
    for kind, rule in ours.measuring_rules():
        folder = f"results/embedded/{kind.folder}/{{experiment}}"
        groups = {"experiment": rule.of, "job": rule.pattern, "shard": "[0-9]+"}
        for output in rule.outputs(folder, kind.ending):
            parts = re.split(r"\{(\w+)\}", output)
            pattern = "".join(
                f"(?P<{part}>{groups[part]})" if number % 2 else re.escape(part)
                for number, part in enumerate(parts)
            )
            if match := re.fullmatch(pattern, path):
                result.append((rule.name, match["job"]))
    return result


def test_each_raw_output_is_of_one_rule_and_job(study: Callable[..., Study]) -> None:
    """Where experiments run other checkpoints of the same model, too."""
    ours = study(
        compute={"shard_points": 10_000},
        models={"smollm2-135m.x": SHIPPED["models"]["smollm2-135m"]},
    )
    refs = ["suite-d4-w64@last", "suite-d8-w64@*", "suite-d8-w32@step0", "suite-d8-w32@last"]
    raw = copy.deepcopy(SHIPPED)
    raw["models"]["smollm2-135m.x"] = raw["models"]["smollm2-135m"]
    raw["studies"]["embedded"]["experiments"] |= {
        "size": ["smollm2-135m", "smollm2-135m.x", *refs],
        "layers": ["smollm2-135m"],
    }
    for each in (ours, Study.load(raw, ROOT)):
        for name, jobs in each.measuring_jobs.items():
            for job in jobs.values():
                for ref in job.refs:
                    expected = each.shards(name, ref)[-1] if job.sharded else each.raw(name, ref)
                    assert [result for _, result in matched(each, expected)] == [job.name], expected


def test_rules_are_named_by_what_their_jobs_do(study: Callable[..., Study]) -> None:
    names = [rule.name for _, rule in study().measuring_rules()]
    assert len(names) == len(set(names))
    assert {"interpolate", "interpolate_checkpoints", "compare_prompts_shards"} <= set(names)
    jobs = study().measuring_jobs["training"].values()
    other = study(models={}).measuring_jobs["size"].values()
    rules = job_rules("run", [*jobs, *other])
    assert {rule.name for rule in rules} == {"run_checkpoints", "run"}
    assert {rule.name for rule in job_rules("copy_checkpoints", jobs, several="")} == {
        "copy_checkpoints"
    }


def test_what_the_first_figure_shows_comes_first_and_long_jobs_before_short(
    study: Callable[..., Study],
) -> None:
    ours = study()
    first = resources.priority(ours, "examples", "smollm2-135m")
    others = {n: resources.priority(ours, n, refs[0]) for n, refs in ours.experiments.items()}
    assert first == resources.FIRST_FIGURE > 1000 > max(n for n in others.values() if n != first)
    assert others["sharpness"] == min(100, resources.points(ours, "sharpness") // 1000)
    assert others["size"] < others["sharpness"]
    # what is scored for a minute after it is not measured last, nor are its activations
    assert others["words-training"] == 100 > others["training"]
    job = ours.experiments["words-training"][0].partition("@")[0]
    cached = {p: resources.caching_priority(ours, p, job) for p in ("words-suite", "random")}
    assert cached["words-suite"] == 100 > cached["random"] >= others["training"]


def jobs_by_priority(ours: Study) -> list[tuple[int, str, str]]:
    """Priority, verb and model of every job of a study that fetches or runs a model."""
    jobs = [(resources.fetching_priority(ours, ref), "fetch", ref) for ref in ours.refs
            if ours.model(ref).source.way == "fetched"]  # fmt: skip
    jobs += [(resources.priority(ours, name, ref), "measure", ref)
             for name, refs in ours.experiments.items() for ref in refs]  # fmt: skip
    jobs += [(resources.caching_priority(ours, prompts, job), "cache", job)
             for prompts, some in ours.activation_jobs.items() for job in some]  # fmt: skip
    return sorted(jobs, reverse=True)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("paper", ["qwen2-0.5b", "olmo-1b-0724", "qwen2-1.5b", "olmo-7b-0724", "qwen2-7b"]),
        ("paper-small", ["qwen2-0.5b", "olmo-1b-0724", "qwen2-1.5b"]),
    ],
)
def test_the_small_models_are_done_before_a_larger_one_is_fetched(
    study: Callable[..., Study], name: str, order: list[str]
) -> None:
    """Tables and figures, whose priority is 0, are made as soon as there is what they show."""
    ours = study(name)
    jobs = jobs_by_priority(ours)
    steps = [paths.split_ref(ref)[0].removesuffix("-random") for _, _, ref in jobs]
    assert list(dict.fromkeys(steps)) == order
    assert steps == sorted(steps, key=order.index)
    for model in order[1:]:  # and the next checkpoint when the one before is done with
        fetched = {p for p, verb, ref in jobs if verb == "fetch" and ref.startswith(model)}
        run = {p for p, verb, ref in jobs if verb != "fetch" and ref.startswith(model)}
        assert max(fetched) < min(run) <= max(run) < 0
    assert {ref for _, verb, ref in jobs[:2] if verb == "fetch"} == {"qwen2-0.5b"}


def test_texts_that_only_vary_a_choice_are_not_waited_for(study: Callable[..., Study]) -> None:
    ours = study("paper")
    later = resources.text_priority(ours, "books-drawn")
    assert resources.text_priority(ours, "books") == 0 > later
    assert later > resources.fetching_priority(ours, "olmo-1b-0724@main")


def test_a_model_of_unknown_size_comes_last(study: Callable[..., Study]) -> None:
    ours = study("paper", models={"qwen2-0.5b": {"shape": None}})
    assert resources.step(ours, "qwen2-0.5b") == resources.step(ours, "qwen2-0.5b-random") == 4
    assert resources.step(ours, "olmo-1b-0724@main") == 0
    assert resources.step(study(), "suite-d4-w64@step0") == 0


def test_the_small_models_of_the_paper_fit_a_laptop_and_an_evening(
    study: Callable[..., Study],
) -> None:
    ours, whole = study("paper-small"), study("paper")
    assert set(ours.models) < set(whole.models)
    assert {"fig1", "fig2", "fig3", "fig4", "figA_layers", "figA_polytopes", "figA_meaning",
            "figA_clusters", "figA_words_scores"} <= set(ours.figures)  # fmt: skip
    for name in ("sharpness", "training", "size", "polytopes", "meaning", "controls"):
        assert ours.points(name) == whole.points(name)  # as many pairs as in the paper
    works, shapes = work.works(ours), {name: shape for name in ours.models
                                       if (shape := ours.shape(name))}  # fmt: skip
    assert sum(each.operations(shapes[each.model]) for each in works) < 2.1e15
    sources = work.sources(ours)
    assert sum(source.download for source in sources.values()) + 1e6 * work.texts(ours) < 35e9
    assert sources["olmo-1b-0724"].disk == sources["olmo-1b-0724"].download / 5
    disk, memory = work.disk_and_memory(
        works, shapes, sources, ours.config.compute.memory_budget_mb * 2**20
    )
    assert disk < 15e9
    assert memory < 8e9


def test_what_is_still_to_be_fetched_is_looked_for_and_nothing_else(
    study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = study("paper-small")
    asked: dict[str, list[str]] = {}

    def absent(repository: str, revisions: list[str], **how: Any) -> list[str]:
        asked[repository] = revisions
        return [f"{repository}: has none"] if how.get("kind") == "dataset" else []

    monkeypatch.setattr(hub, "absent", absent)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="^study paper-small: [^;]*: has none$"):
        work.check_names(ours)
    revisions = {paths.split_ref(ref)[1] for ref in ours.refs if ref.startswith("olmo-1b-0724@")}
    assert set(asked["allenai/OLMo-1B-0724-hf"]) == revisions
    assert len(revisions) == 5
    source: Any = ours.config.models["qwen2-1.5b"].source
    assert asked["Qwen/Qwen2-1.5B"] == [source.commit]
    for ref in ("qwen2-1.5b", "olmo-1b-0724@main"):
        Path(paths.facts(ref)).parent.mkdir(parents=True, exist_ok=True)
        Path(paths.facts(ref)).touch()
    for name in ours.corpora:
        Path(paths.corpus(name)).parent.mkdir(parents=True, exist_ok=True)
        Path(paths.corpus(name)).touch()
    asked.clear()
    work.check_names(ours)
    assert set(asked["allenai/OLMo-1B-0724-hf"]) == revisions - {"main"}
    assert set(asked) == {"allenai/OLMo-1B-0724-hf", "Qwen/Qwen2-0.5B"}


def test_a_deviation_is_of_studies_that_have_what_it_is_about(
    study: Callable[..., Study],
) -> None:
    """On the paper's own models and texts there is none about other ones."""
    about = {"models", "weights", "checkpoints", "seen-prompts", "corpus", "draw"}
    ours = study("embedded").deviations
    assert about < set(ours)
    for name in ("paper", "paper-small"):
        assert set(study(name).deviations) == set(ours) - about
    assert set(study("gemma").deviations) & about == {"corpus", "draw"}


def test_on_a_machine_with_a_gpu_models_run_there(
    study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, named = study(), study(compute={"device": "cuda"})
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(resources.machine, "here", lambda there=there: there)
        assert resources.gpus(ours, "smollm2-135m", local=True) == there
        assert resources.gpus(ours, "smollm2-135m", local=False) == 0
        assert resources.gpus(named, "smollm2-135m", local=False) == 1
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert placed("auto").type == kind


def test_memory_follows_a_models_shape_and_every_dtype(study: Callable[..., Study]) -> None:
    ours = study()
    shape = ours.shape("smollm2-135m")
    assert shape is not None
    one, both = (resources.memory(ours, "smollm2-135m", more) for more in ((), ("float64",)))
    assert both - one == pytest.approx(8 * shape.weights / 1e6, abs=1)
    asked = resources.measuring(ours, ours.measuring_jobs["robustness"]["smollm2-135m"], local=True)
    others = ours.entry("robustness").other_dtypes()
    assert asked.memory == resources.memory(ours, "smollm2-135m", others)
    assert asked.memory > both
    assert resources.memory(ours, "suite-d4-w64") < one


def test_the_shape_of_a_hub_model_is_known_once_its_config_is_here(
    study: Callable[..., Study],
) -> None:
    source = {"kind": "hub", "repository": "me/mine"}
    model = {"family": "M", "licence": "MIT", "source": source}
    changes = {
        "models": {"m": model},
        "studies": {"mine": {"title": "mine", "experiments": {"examples": ["m"]}}},
    }
    ours = study("mine", **changes)
    assert ours.shape("m") is None
    assert resources.memory(ours, "m") == 16_000
    assert resources.minutes(ours, "m", 10) == 240
    config = {
        "model_type": "llama", "num_hidden_layers": 3, "hidden_size": 8, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 50,
    }  # fmt: skip
    write_json(f"{paths.hub_config('m')}/config.json", config)
    shape = study("mine", **changes).shape("m")
    assert shape is not None
    assert (shape.layers, shape.width) == (3, 8)


def test_work_is_what_jobs_run_and_keep(study: Callable[..., Study]) -> None:
    ours = study()
    works = work.works(ours)
    assert sum(each.jobs for each in works if each.stage == "training") == len(ours.trained)
    measured = [each for each in works if each.stage not in ("training", "activations")]
    assert sum(each.points for each in measured) == sum(
        ours.points(name) * len(refs) for name, refs in ours.experiments.items()
    )
    # of each prompt: what is written at each layer, and read at both sites
    layers = len(ours.write_layers("random", "suite-d4-w64@step0"))
    [suite] = [w for w in works if (w.stage, w.model) == ("activations", "suite-d4-w64")]
    checkpoints = ours.checkpoints["suite-d4-w64"]
    assert suite.vectors == ours.size("random").prompts * (layers + 2) * len(checkpoints)


def test_a_study_without_room_is_told(
    study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = study()
    work.check_capacity(ours, local=False)
    monkeypatch.setattr(capacity, "memory_here", lambda: 10**8)
    monkeypatch.setattr(resources.machine, "here", lambda: False)
    work.check_capacity(ours, local=False)  # the memory of other machines
    with pytest.raises(UserError, match="study embedded: the memory is too small"):
        work.check_capacity(ours, local=True)


def test_a_study_has_the_figures_and_tables_of_what_it_runs(study: Callable[..., Study]) -> None:
    whole = study()
    assert {"fig1", "fig2", "figA_losses", "figA_polytopes"} <= set(whole.figures)
    assert whole.figure_modules["fig2"].title.startswith("Figure 2: single pairs.")
    experiments = {"examples": ["smollm2-135m"], "sharpness": ["smollm2-135m"]}
    small = study("mine", studies={"mine": {"title": "mine", "experiments": experiments}})
    assert list(small.figures) == ["fig2", "figA_sharpness"]
    assert set(small.paper_tables) == {
        "examples", "examples_pairs", "sharpness", "deviations", "independent-check",
    }  # fmt: skip
    assert small.claim_tables(["regions"]) == ["sharpness"]
    assert small.cost("emerge") == {"points": 0, "jobs": 0, "training_tokens": 0}
    assert whole.cost("emerge")["training_tokens"] == sum(s.tokens for s in whole.trained.values())
    rounded = study("mine", models={"smollm2-135m": {"dtype": "bfloat16"}}, studies={
        "mine": {"title": "mine", "experiments": experiments}
    })  # fmt: skip
    assert not rounded.cross_checked
    assert "independent-check" not in rounded.paper_tables


def test_a_local_model_is_read_file_by_file_with_its_times(
    tmp_path: Path, study: Callable[..., Study]
) -> None:
    make_sources(tmp_path)
    source = {"kind": "local", "path": "sources/tiny-llama"}
    model = {"family": "T", "licence": "none", "source": source}
    ours = study(models={"tiny": model})
    local = ours.config.models["tiny"].source
    assert local.inputs(ours.config) == sorted(map(str, Path("sources/tiny-llama").glob("*.*")))
    before = local.file_stamps()
    (tmp_path / "sources/tiny-llama/config.json").write_text("{}")
    assert local.file_stamps() != before
    twin = ours.config.models["smollm2-135m-random"].source
    assert twin.inputs(ours.config) == [paths.model("smollm2-135m")]


def test_every_rule_that_runs_a_model_is_expected_to_take_time(
    study: Callable[..., Study],
) -> None:
    embedded = study()
    expected = work.expected(embedded)
    names = {rule.name for _, rule in embedded.measuring_rules()}
    names |= {rule.name for rule in embedded.activation_rules()} | {"train"}
    assert set(expected) == names
    assert min(expected.values()) > LIGHT
