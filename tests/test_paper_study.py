"""The paper's own models: the DAGs without network, and all of `paper-small` on stand-ins.

The stand-ins have the names and the configurations of the paper's models, a narrower stream and
random weights; a hub on loopback serves them, and is as the hub is on a bad day.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import typst
import yaml
from snakemake.utils import update_config
from transformers import AutoConfig

from stable_regions.base.files import read_object, read_parquet
from stable_regions.models.check import check
from stable_regions.models.load import load_model
from stable_regions.models.shapes import Shape
from stable_regions.study import config
from tests.background import BackgroundRun
from tests.hub_stand_in import Hub, Repository, serve
from tests.test_paper_models import read
from tests.test_workflow import jobs
from tests.tiny_study import ROOT, save_model, text, tokenizer

OVERLAY = ROOT / "tests" / "tiny" / "paper.yaml"
HUB_RULES = {"hub_checkpoint", "hub_config", "hub_corpus", "hub_model"}
TRAINING_RULES = {"copy_checkpoints", "loss_table", "tokenizer", "train"}
# What rules end in of jobs that run several checkpoints, or that measure shards.
SEVERAL = re.compile(r"(?<!copy)_checkpoints(_shards)?$|_shards$")
MODELS = ("olmo-1b-0724", "qwen2-0.5b", "qwen2-1.5b")
OLMO, GATED = "allenai/OLMo-1B-0724-hf", "Qwen/Qwen2-1.5B"
TOKEN = "hf_" + 20 * "z"  # in no file but those that it leaks to: a crate has a copy of this one
SHARD_SIZE = "15MB"  # OLMo-1B is in two shards, as on the hub
SHARD = "model-00001-of-00002.safetensors"
# What the published `config.json` of an architecture says beside the shape. Special tokens go with
# the vocabulary, which is the stand-ins' own.
PUBLISHED: dict[str, dict[str, Any]] = {
    "olmo": {
        "architectures": ["OlmoForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "clip_qkv": 8.0, "eos_token_id": None, "hidden_act": "silu", "initializer_range": 0.02,
        "max_position_embeddings": 4096, "pad_token_id": 1, "rope_scaling": None,
        "rope_theta": 10000.0, "use_cache": True,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "hidden_act": "silu",
        "initializer_range": 0.02, "max_position_embeddings": 131072, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 131072, "use_cache": True,
        "use_sliding_window": False,
    },
}  # fmt: skip


def merged(study: str = "paper-small") -> dict[str, Any]:
    """config.yaml with the overlay on top."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(raw, yaml.safe_load(OVERLAY.read_text()))
    return raw | {"study": study}


def published(shape: Shape) -> dict[str, Any]:
    """The `config.json` of a model of a shape, as its authors write it."""
    more = {"max_window_layers": shape.layers} if shape.model_type == "qwen2" else {}
    return {
        **PUBLISHED[shape.model_type], **more, "model_type": shape.model_type,
        "hidden_size": shape.width, "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads or shape.heads, "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied, "torch_dtype": shape.stored,
    }  # fmt: skip


def fill(hub: Hub, folder: Path) -> None:
    """Put the repositories that the study's models and corpora name on the hub."""
    ours = config.load(merged())
    for seed, name in enumerate(MODELS):
        model = ours.models[name]
        source, said = model.source.model_dump(), published(model.shape)
        revisions = source["checkpoints"] or [source["commit"]]
        places = {revision: folder / name / revision for revision in revisions}
        for number, place in enumerate(places.values()):
            architecture = AutoConfig.for_model(**said)
            save_model(place, architecture, seed=10 * seed + number, max_shard_size=SHARD_SIZE)
            (place / "config.json").write_text(json.dumps(said))
            (place / "pytorch_model.bin").write_bytes(b"a pickle")
        token = TOKEN if source["repository"] == GATED else None
        hub.repositories[source["repository"]] = Repository(places, token)
    olmo = hub.repositories[OLMO]
    olmo.moves["main"] = olmo.revisions["main"]
    olmo.revisions["main"] = folder / MODELS[0] / "before"
    shutil.copytree(olmo.revisions["step0-tokens0B"], olmo.revisions["main"])
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


def environment(folder: Path, hub: Hub) -> dict[str, str]:
    """With what people have in their profiles; here there is no Xet to go by."""
    ways = {"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_XET_HIGH_PERFORMANCE": "1"}
    return hub.environment(folder / "hf-home", HF_TOKEN=TOKEN, **ways)


def snakemake(folder: Path, hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments), capture_output=True, text=True, check=False,
        env=environment(folder, hub),
    )  # fmt: skip


@contextmanager
def run(folder: Path) -> Iterator[BackgroundRun]:
    """The study `paper-small` on stand-ins to its end, beside the tests, and their hub.

    One model is gated, the hub asks to wait, one shard breaks off after 12 MB, and `main` of
    OLMo-1B moves between the job that fetches its tokenizer and the one that fetches its weights.
    """
    with serve() as hub:
        fill(hub, folder / "repositories")
        hub.limited, hub.limits = 2, SHARD  # its client asks once more without waiting
        hub.broken[SHARD] = 12_000_000
        expected = command(folder, "--configfile", str(OVERLAY))
        yield BackgroundRun(folder, expected, environment(folder, hub), given=hub)


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


@pytest.mark.parametrize("study", ["paper-small", "paper"])
def test_the_stand_ins_run_the_paper_s_experiments(study: str) -> None:
    """What the overlay changes are sizes: the experiments and their models are the paper's."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"study": study}
    real, small = config.load(raw), config.load(merged(study))
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


def test_the_stand_ins_are_the_paper_s_models_a_sixteenth_as_wide() -> None:
    real = config.load(yaml.safe_load((ROOT / "config.yaml").read_text()))
    small = config.load(merged())
    narrower = [name for name in real.models if real.models[name].shape != small.models[name].shape]
    assert set(MODELS) < set(narrower)
    for name in narrower:
        theirs, ours = real.models[name].shape, small.models[name].shape
        assert (16 * ours.width, 16 * ours.mlp) == (theirs.width, theirs.mlp)
        assert ours.vocabulary == tokenizer().get_vocab_size()
        cut = {"width", "mlp", "vocabulary"}
        assert ours.model_dump(exclude=cut) == theirs.model_dump(exclude=cut)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["olmo-1b-0724", "qwen2-0.5b"])
def test_at_their_whole_width_the_first_layers_pass_the_load_check(
    tmp_path: Path, name: str
) -> None:
    real = config.load(yaml.safe_load((ROOT / "config.yaml").read_text())).models[name].shape
    said = published(real.model_copy(update={"layers": 2, "vocabulary": 417}))
    save_model(tmp_path, AutoConfig.for_model(**said), seed=0)
    (tmp_path / "config.json").write_text(json.dumps(said))
    model = load_model(tmp_path, dtype="float32", device="cpu", threads=1)
    assert model.engine == "fused"
    tokens = torch.randint(0, 417, (4, 10), generator=torch.Generator().manual_seed(0))
    assert check(model, tokens, 0, budget=2**29).verdict == "passed"


def test_the_study_goes_to_its_end(stand_ins: tuple[Path, Hub]) -> None:
    results = stand_ins[0] / "results" / "paper-small"
    assert (results / "paper.pdf").read_bytes().startswith(b"%PDF")
    for name in ("explorer.html", "manifest.json", "ro-crate-metadata.json", "README.md"):
        assert (results / name).exists()
    ledger = yaml.safe_load((ROOT / "paper" / "claims.yaml").read_text())
    claims = json.loads((results / "claims.json").read_text())
    assert [claim["id"] for claim in claims] == [claim["id"] for claim in ledger]
    [emerge] = [claim for claim in claims if claim["id"] == "emerge"]
    assert emerge["models"] == ["olmo-1b-0724@step0-tokens0B", "olmo-1b-0724@main"]
    numbers = json.loads((results / "numbers.json").read_text())
    rows = {row["model"]: row for row in numbers["models"]}
    assert set(rows) == {
        "olmo-1b-0724@step0-tokens0B", "olmo-1b-0724@main", "qwen2-0.5b", "qwen2-0.5b-random",
        "qwen2-1.5b",
    }  # fmt: skip
    assert rows["olmo-1b-0724@main"]["tokens"] == 3_050_000_000_000
    assert rows["olmo-1b-0724@step0-tokens0B"]["tokens"] == 0
    assert [rows[name]["layers"] for name in ("qwen2-1.5b", "olmo-1b-0724@main")] == [28, 16]
    assert {"fig1", "fig2", "fig3", "fig4", "figA_layers", "figA_polytopes", "figA_meaning"} <= set(
        numbers["figures"]
    )
    summarised = {table.partition("_")[0] for table in numbers["tables"]}
    assert summarised >= set(numbers["experiments"])
    assert all(check["verdict"] == "passed" for check in numbers["checks"])
    layers = numbers["tables"]["layers"]["qwen2-1.5b"]
    assert set(layers) == {"0", "6"}


def test_the_paper_says_which_of_the_paper_s_models_are_missing(
    stand_ins: tuple[Path, Hub],
) -> None:
    """Under each figure that compares sizes, and in the text beside it."""
    abstract, text = read(stand_ins[0] / "results" / "paper-small")
    assert "olmo-1b-0724, qwen2-0.5b and qwen2-1.5b go by the name of the paper's." in abstract
    said = "Of the models that the paper compares here, {} missing."
    assert text.count(said.format("olmo-7b-0724 and qwen2-7b are")) == 2
    assert text.count(said.format("olmo-7b-0724 is")) == 2
    assert "after 3.05 T." in text
    assert "Planes of one triple on qwen2-0.5b" in text
    assert "(d) Last checkpoints (12 pairs) by" in text
    assert "a hub that this study does without" not in text


def test_no_table_of_claims_is_longer_than_a_page(
    stand_ins: tuple[Path, Hub], tmp_path: Path
) -> None:
    """One that goes over both columns does not break; a page has 712 points for it."""
    main = tmp_path / "main.typ"
    main.write_text(
        f'#import "{ROOT}/paper/sections/claims.typ": claims-of\n'
        f'#import "{ROOT}/paper/style.typ": paper\n'
        "#show: paper.with(title: [t], abstract: [a])\n"
        '#context [#metadata(("paper", "ours").map(whose => claims-of(whose).map(one =>'
        " measure(one, width: 496pt).height.pt()))) <heights>]"
    )
    query = typst.query(
        main, "<heights>", field="value", one=True, root=Path("/"),
        sys_inputs={"results": str(stand_ins[0] / "results" / "paper-small")},
    )  # fmt: skip
    heights = json.loads(query)
    assert [len(some) for some in heights] == [2, 2]
    assert 500 < max(map(max, heights)) < 670  # a caption goes with it


def test_the_hub_s_bad_day_is_got_over(stand_ins: tuple[Path, Hub]) -> None:
    folder, hub = stand_ins
    assert hub.limited == 0
    assert hub.ranges == [f"{SHARD} bytes=10485760-"]  # its client keeps pieces of 10 MiB
    made = [path for part in ("results", "logs") for path in (folder / part).rglob("*")]
    assert not [path for path in made if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_raw_files_say_which_commit_they_are_of(stand_ins: tuple[Path, Hub]) -> None:
    """Of a revision that has moved since its tokenizer was fetched, the one that was measured."""
    folder, hub = stand_ins
    raw = folder / "results/paper-small/interpolation"
    _, of_size = read_parquet(raw / "size/qwen2-1.5b.parquet")
    assert of_size["commit"] == of_size["source"]["commit"] is not None
    early, late = (
        read_parquet(raw / f"training/olmo-1b-0724@{revision}.parquet")[1]
        for revision in ("step0-tokens0B", "main")
    )
    repository = hub.repositories[OLMO]
    assert early["commit"] == repository.commit("step0-tokens0B") != late["commit"]
    assert early["files"]["model.safetensors.index.json"]
    assert early["files"][SHARD] != late["files"][SHARD]
    tokenizer_of = read_object(folder / "resources/configs/olmo-1b-0724/source.json")
    assert tokenizer_of["commit"] == repository.commit("main before")
    assert late["commit"] == repository.commit("main") != tokenizer_of["commit"]


def test_checkpoints_are_gone_and_models_are_links(stand_ins: tuple[Path, Hub]) -> None:
    folder, hub = stand_ins
    assert not list((folder / "resources" / "models").glob("*@*"))
    assert not list((folder / "resources" / "models").glob(".*"))
    weights = folder / "resources" / "models" / "qwen2-1.5b" / "model.safetensors"
    assert weights.resolve().is_relative_to(folder / "hf-home")
    assert "pytorch_model.bin" not in hub.files()
    again = snakemake(folder, hub, "--configfile", str(OVERLAY), "-n", "-q", "rules")
    assert jobs(again) == []


def test_at_most_one_checkpoint_lies_on_the_disk(stand_ins: tuple[Path, Hub]) -> None:
    """The next is asked for only after the one before was removed."""
    log = next((stand_ins[0] / ".snakemake" / "log").glob("*.log")).read_text()
    lines = [
        line for line in log.splitlines()
        if ("from the hub" in line and "@" in line)
        or line.startswith("Removing temporary output resources/models/")
    ]  # fmt: skip
    assert len(lines) == 2 * 2
    assert all(("Fetch" in line) == (number % 2 == 0) for number, line in enumerate(lines))


def errors(done: subprocess.CompletedProcess[str], of: str) -> list[str]:
    """The lines that a run which was to fail says of something."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if of in line]


def test_all_that_the_hub_lacks_is_one_line_before_anything_is_downloaded(
    stand_ins: tuple[Path, Hub], tmp_path: Path
) -> None:
    _, hub = stand_ins
    revisions = ["step0-tokens0B", "step7-tokens7B", "main"]
    changes = {
        "models": {"olmo-1b-0724": {"source": {"checkpoints": revisions}}},
        "corpora": {"books": {"files": ["data/test-*.parquet"]}},
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(changes))
    asked = len(hub.asked)
    started = command(tmp_path, "--configfile", str(OVERLAY), str(tmp_path / "more.yaml"))
    nobody = hub.environment(tmp_path / "hf-home")
    done = subprocess.run(started, capture_output=True, text=True, check=False, env=nobody)
    [line] = errors(done, "step7-tokens7B")
    assert re.fullmatch(
        f"study paper-small: {OLMO}: has no revision 'step7-tokens7B'; [^;]*; "
        f"{GATED}: this model is gated; [^;]*; "
        "sedthh/gutenberg_english: has no data/test-\\*.parquet at main",
        line.strip(),
    ), line
    downloaded = [path for path in hub.asked[asked:] if path.startswith("GET")]
    assert downloaded == []
    assert not (tmp_path / "resources").exists()


def test_a_revision_that_moved_to_another_tokenizer_is_one_line(
    stand_ins: tuple[Path, Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompts are tokens of the one before."""
    _, hub = stand_ins
    now = hub.repositories[OLMO].revisions["main"]
    later = Path(shutil.copytree(now, tmp_path / "later"))
    said = json.loads((now / "tokenizer.json").read_text())
    words = said["model"]["vocab"]
    words["\u0120the"], words["\u0120of"] = words["\u0120of"], words["\u0120the"]
    (later / "tokenizer.json").write_text(json.dumps(said))
    moving = Repository({"main": now}, moves={"main": later})
    monkeypatch.setitem(hub.repositories, OLMO, moving)
    target = "results/paper-small/activations/books/olmo-1b-0724@main.safetensors"
    done = snakemake(tmp_path, hub, "--configfile", str(OVERLAY), "--", target)
    [line] = errors(done, "its token ")
    assert "resources/models/olmo-1b-0724@main: its token " in line
    assert "if the revision has moved on the hub, delete that folder and run again" in line
    assert not (tmp_path / target).exists()


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
