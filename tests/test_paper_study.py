"""The paper study: its DAG without network, and all of it on stand-ins of the paper's models.

The stand-ins have the names, the architectures and the config classes of the paper's models, a few
layers, and random weights; a hub on loopback serves them.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import typst
import yaml
from snakemake.utils import update_config
from transformers import OlmoConfig, PreTrainedConfig, Qwen2Config

from stable_regions.base.files import read_parquet
from stable_regions.study import config
from tests.background import BackgroundRun
from tests.hub_stand_in import Hub, Repository, serve
from tests.test_workflow import jobs
from tests.tiny_study import ROOT, save_model, text, tokenizer

OVERLAY = ROOT / "tests" / "tiny" / "paper.yaml"
FIGURES = ["fig1", "fig3", "fig4", "figA_layers"]
TARGETS = ["results/paper/numbers.json", *(f"results/paper/figures/{f}.pdf" for f in FIGURES)]
HUB_RULES = {"hub_checkpoint", "hub_config", "hub_corpus", "hub_model"}
TRAINING_RULES = {"copy_checkpoints", "loss_table", "tokenizer", "train"}
# What rules end in of jobs that run several checkpoints, or that measure shards.
SEVERAL = re.compile(r"(?<!copy)_checkpoints(_shards)?$|_shards$")


def shape(layers: int, **changes: int) -> dict[str, int | None]:
    """What both architectures call the same."""
    return {
        "vocab_size": tokenizer().get_vocab_size(), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": layers, "num_attention_heads": 4, "max_position_embeddings": 64,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None, **changes,
    }  # fmt: skip


def olmo(layers: int) -> PreTrainedConfig:
    return OlmoConfig(**shape(layers), clip_qkv=8.0)


def qwen(layers: int, tied: bool) -> PreTrainedConfig:
    return Qwen2Config(**shape(layers, num_key_value_heads=2), tie_word_embeddings=tied)


# As the real ones: the larger OLMo has more layers, and Qwen2 ties the weights of its small ones.
MODELS = {
    "olmo-1b-0724": olmo(2),
    "olmo-7b-0724": olmo(3),
    "qwen2-0.5b": qwen(24, tied=True),  # as the real one: words are patched at all depths
    "qwen2-1.5b": qwen(8, tied=True),
    "qwen2-7b": qwen(3, tied=False),
}


def fill(hub: Hub, folder: Path) -> None:
    """Put the repositories that the overlay's models and corpora name on the hub."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    overlay = yaml.safe_load(OVERLAY.read_text())
    for seed, (name, architecture) in enumerate(MODELS.items()):
        source = raw["models"][name]["source"] | overlay["models"].get(name, {}).get("source", {})
        revisions = source.get("checkpoints") or [source.get("commit", "main")]
        places = {revision: folder / name / revision for revision in revisions}
        for number, place in enumerate(places.values()):
            save_model(place, architecture, seed=10 * seed + number)
            (place / "pytorch_model.bin").write_bytes(b"a pickle")
        hub.repositories[source["repository"]] = Repository(places)
    books = folder / "books" / "data"
    books.mkdir(parents=True)
    for part in range(2):
        table = pd.DataFrame(
            {"TEXT": [text(120, 5 * part + i) for i in range(5)], "METADATA": "{}"}
        )
        table.to_parquet(books / f"train-{part:05}-of-00037-ab.parquet")
    hub.repositories["sedthh/gutenberg_english"] = Repository({"main": books.parent})


def command(folder: Path, *arguments: str) -> list[str]:
    started = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*started, "--directory", str(folder), "--cores", "2", *arguments]


def snakemake(folder: Path, hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments), capture_output=True, text=True, check=False,
        env=hub.environment(folder / "hf-home"),
    )  # fmt: skip


@contextmanager
def run(folder: Path) -> Iterator[BackgroundRun]:
    """The paper study on stand-ins, beside the tests, and their hub.

    Of the figures, those that set checkpoints and sizes side by side are drawn.
    """
    with serve() as hub:
        fill(hub, folder / "repositories")
        expected = command(folder, "--configfile", str(OVERLAY), "--", *TARGETS)
        yield BackgroundRun(folder, expected, hub.environment(folder / "hf-home"), given=hub)


@pytest.fixture(scope="module")
def stand_ins(background_run: BackgroundRun) -> tuple[Path, Hub]:
    """The folder of the run, which has ended well, and the hub."""
    return background_run.ended(), background_run.given


def rules(tmp_path: Path, study: str) -> set[str]:
    done = snakemake(
        tmp_path, Hub("http://127.0.0.1:9"), "-n", "-q", "rules", "--config", f"study={study}"
    )
    return {SEVERAL.sub("", name) for name in jobs(done) if name != "gather"}


@pytest.mark.workflow
def test_the_studies_differ_in_config_alone(tmp_path: Path) -> None:
    """From an empty folder, without a network: only where models come from has rules of its own."""
    paper, embedded = rules(tmp_path, "paper"), rules(tmp_path, "embedded")
    assert paper - embedded == HUB_RULES
    # and the reference, which is kept of the embedded study alone
    assert embedded - paper == TRAINING_RULES | {"packaged_model", "comparison"}
    assert "paper" in rules(tmp_path, "families")


def test_the_stand_ins_run_the_paper_s_experiments() -> None:
    """What the overlay changes are sizes: the experiments and their models are the paper's."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"study": "paper"}
    real = config.load(raw)
    update_config(raw, yaml.safe_load(OVERLAY.read_text()))
    small = config.load(raw)
    sizes = {"pairs", "triples", "resolution", "prompt_sets", "clusters", "blocks"}
    sizes |= {"bases", "angles", "lengths"}
    for name, refs in real.selected().experiments.items():
        entries = (of.experiments[name].model_dump(exclude=sizes) for of in (real, small))
        assert next(entries) == next(entries)
        models = {config.split_ref(ref)[0] for ref in refs}
        assert {config.split_ref(ref)[0] for ref in small.selected().experiments[name]} == models
    entries = (
        {n: m.model_dump(exclude={"shape"}) for n, m in of.models.items()} for of in (real, small)
    )
    theirs, ours = entries
    changed = {name for name in theirs if theirs[name] != ours[name]}
    assert changed == {"olmo-1b-0724", "olmo-7b-0724"}  # fewer checkpoints


def test_the_paper_study_gives_its_tables_and_a_paper(
    stand_ins: tuple[Path, Hub], tmp_path: Path
) -> None:
    results = stand_ins[0] / "results" / "paper"
    numbers = json.loads((results / "numbers.json").read_text())
    rows = {row["model"]: row for row in numbers["models"]}
    assert set(rows) == {
        "olmo-1b-0724@step0-tokens0B", "olmo-1b-0724@main", "olmo-7b-0724@main", "qwen2-0.5b",
        "qwen2-0.5b-random", "qwen2-1.5b", "qwen2-7b",
    }  # fmt: skip
    assert rows["olmo-1b-0724@main"]["tokens"] == 3_050_000_000_000
    assert rows["olmo-1b-0724@step0-tokens0B"]["tokens"] == 0
    assert [rows[name]["layers"] for name in ("qwen2-1.5b", "olmo-7b-0724@main")] == [8, 3]
    assert {"fig1", "fig2", "fig3", "fig4", "figA_layers", "figA_polytopes", "figA_meaning"} <= set(
        numbers["figures"]
    )
    summarised = {table.partition("_")[0] for table in numbers["tables"]}
    assert summarised >= set(numbers["experiments"])
    assert all(check["verdict"] == "passed" for check in numbers["checks"])
    layers = numbers["tables"]["layers"]["qwen2-1.5b"]
    assert set(layers) == {"0", "6"}
    shutil.copytree(results / "figures", tmp_path / "figures")
    (tmp_path / "numbers.json").write_text(json.dumps(numbers | {"figures": FIGURES}))
    source = ROOT / "paper" / "paper.typ"
    pdf = typst.compile(source, root=Path("/"), sys_inputs={"results": str(tmp_path)})
    assert pdf.startswith(b"%PDF")


def test_raw_files_say_which_commit_they_are_of(stand_ins: tuple[Path, Hub]) -> None:
    folder, hub = stand_ins
    raw = folder / "results/paper/interpolation"
    _, of_size = read_parquet(raw / "size/qwen2-7b.parquet")
    assert of_size["commit"] == of_size["source"]["commit"] is not None
    early, late = (
        read_parquet(raw / f"training/olmo-1b-0724@{revision}.parquet")[1]
        for revision in ("step0-tokens0B", "main")
    )
    repository = hub.repositories["allenai/OLMo-1B-0724-hf"]
    assert early["commit"] == repository.commit("step0-tokens0B") != late["commit"]
    assert early["files"]["model.safetensors"] != late["files"]["model.safetensors"]


def test_checkpoints_are_gone_and_models_are_links(stand_ins: tuple[Path, Hub]) -> None:
    folder, hub = stand_ins
    assert not list((folder / "resources" / "models").glob("*@*"))
    assert not list((folder / "resources" / "models").glob(".*"))
    weights = folder / "resources" / "models" / "qwen2-7b" / "model.safetensors"
    assert weights.resolve().is_relative_to(folder / "hf-home")
    assert "pytorch_model.bin" not in hub.files()
    again = snakemake(
        folder, hub, "--configfile", str(OVERLAY), "-n", "-q", "rules", "--", *TARGETS
    )
    assert jobs(again) == []


def test_at_most_one_checkpoint_lies_on_the_disk(stand_ins: tuple[Path, Hub]) -> None:
    """The next is asked for only after the one before was removed."""
    log = next((stand_ins[0] / ".snakemake" / "log").glob("*.log")).read_text()
    lines = [
        line for line in log.splitlines()
        if ("from the hub" in line and "@" in line)
        or line.startswith("Removing temporary output resources/models/")
    ]  # fmt: skip
    assert len(lines) == 2 * 3
    assert all(("Fetch" in line) == (number % 2 == 0) for number, line in enumerate(lines))


def test_gemma_has_the_same_prompts_with_and_without_bos(
    stand_ins: tuple[Path, Hub], tmp_path: Path
) -> None:
    _, hub = stand_ins
    (tmp_path / "gemma").mkdir()
    (tmp_path / "gemma" / "config.json").write_text("{}")
    tokenizer().save(str(tmp_path / "gemma" / "tokenizer.json"))
    bos = {"bos_token": {"content": "!"}}
    (tmp_path / "gemma" / "tokenizer_config.json").write_text(json.dumps(bos))
    source = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]["gemma-2-2b"]["source"]
    hub.repositories[source["repository"]] = Repository({source["commit"]: tmp_path / "gemma"})
    names = ("gemma-2-2b", "gemma-2-2b-bos")
    files = [f"results/families/prompts/books/{name}.prompts.parquet" for name in names]
    study = ["--configfile", str(OVERLAY), "--config", "study=families"]
    done = snakemake(tmp_path, hub, *study, "--", *files)
    assert done.returncode == 0, done.stderr[-3000:]
    without, with_bos = (read_parquet(tmp_path / file)[0] for file in files)
    assert list(without["text"]) == list(with_bos["text"])
    [first] = tokenizer().encode("!").ids
    for plain, led in zip(without["tokens"], with_bos["tokens"], strict=True):
        assert [first, *plain] == list(led)
        assert len(plain) == 10
