"""One folder is one model: what is checked is what is swept, whatever its files say."""

import importlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stable_regions.base.errors import UserError
from stable_regions.base.files import write_json, write_safetensors
from stable_regions.models import huggingface
from stable_regions.models.check import check, check_again
from stable_regions.models.fused import Fused
from stable_regions.models.load import load_model
from stable_regions.models.model import Model
from stable_regions.models.sweep import sweep
from stable_regions.sources import packages as sources
from stable_regions.sources import twin
from tests.models import D_MODEL, VOCAB, make_model
from tests.tiny_study import ROOT

BUDGET = 2**30
LINEAR = {"rope_type": "linear", "factor": 8.0}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def weighing(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def saying(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tokens() -> torch.Tensor:
    return torch.randint(0, VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))


def logits_behind(model: Model) -> torch.Tensor:
    """The logits of points that are each prompt's own clean activation, by a sweep."""
    hf = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    hidden = hf(tokens(), output_hidden_states=True).hidden_states[1][:, -1:]
    parts = sweep(
        model, 0, tokens(), torch.arange(3), hidden.detach().__getitem__, ("logits",), budget=BUDGET
    )
    return torch.cat([out["logits"] for _, out in parts])[:, 0]


def right(model: Model) -> None:
    """A sweep gives what transformers itself makes of the folder."""
    hf = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    torch.testing.assert_close(
        logits_behind(model), hf(tokens()).logits[:, -1].detach(), rtol=1e-3, atol=1e-3
    )


def loaded(folder: Path, engine: str) -> Model:
    return load_model(folder, device="cpu", engine=engine, threads=1)


ENGINES = pytest.mark.parametrize("engine", ["auto", "bridge", "fused"])


@ENGINES
@pytest.mark.parametrize("family", ["llama", "mistral", "olmo", "qwen2"])
@pytest.mark.parametrize("name", ["model.layers.1.self_attn.o_proj.bias", "lm_head.bias"])
def test_a_bias_that_the_config_does_not_declare_is_refused(
    tmp_path: Path, family: str, name: str, engine: str
) -> None:
    folder = make_model(tmp_path, family)
    width = VOCAB if name.startswith("lm_head") else D_MODEL
    weighing(folder, lambda weights: weights.update({name: torch.ones(width)}))
    with pytest.raises(UserError, match=f"the weights hold {name}, for which the model of config"):
        loaded(folder, engine)


@ENGINES
@pytest.mark.parametrize("family", ["llama", "mistral", "olmo"])
@pytest.mark.parametrize("scaling", [LINEAR, LLAMA3])
def test_a_scaled_rotation_beside_a_default_one_is_what_transformers_takes(
    tmp_path: Path, family: str, scaling: dict[str, Any], engine: str
) -> None:
    folder = make_model(tmp_path, family)
    plain = logits_behind(loaded(folder, engine))
    saying(folder, rope_scaling=scaling)
    right(model := loaded(folder, engine))
    assert not torch.allclose(logits_behind(model), plain, rtol=1e-2)


@ENGINES
def test_a_key_that_only_transformers_knows_is_left_to_it(tmp_path: Path, engine: str) -> None:
    folder = make_model(tmp_path)
    saying(folder, partial_rotary_factor=0.5)
    right(loaded(folder, engine))


@ENGINES
def test_a_stale_index_beside_whole_weights_is_passed_over(tmp_path: Path, engine: str) -> None:
    folder = make_model(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / sources.INDEX).write_text(json.dumps(index))
    right(loaded(folder, engine))


@ENGINES
def test_two_sets_of_weights_are_no_model(tmp_path: Path, engine: str) -> None:
    folder, other = make_model(tmp_path / "a"), make_model(tmp_path / "b", seed=1)
    shard = "model-00001-of-00001.safetensors"
    (other / "model.safetensors").rename(folder / shard)
    (folder / sources.INDEX).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(UserError, match="holds two sets of weights, model.safetensors and "):
        loaded(folder, engine)


@ENGINES
@pytest.mark.parametrize("same", [True, False])
def test_a_head_of_its_own_in_a_tied_model(tmp_path: Path, same: bool, engine: str) -> None:
    folder = make_model(tmp_path, tie_word_embeddings=True)

    def untie(weights: dict[str, torch.Tensor]) -> None:
        embedding = weights["model.embed_tokens.weight"]
        weights["lm_head.weight"] = embedding.clone() if same else torch.randn_like(embedding)

    weighing(folder, untie)
    model = loaded(folder, engine)
    assert check(model, tokens(), 0, budget=BUDGET).verdict == "passed" if model.hooks else True
    right(model)


def test_another_attention_than_the_plain_one_is_not_asked_for(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{}")
    saying(folder, _attn_implementation="flash_attention_2")
    right_logits = huggingface.load(folder)(tokens()).logits
    assert right_logits.isfinite().all()
    (tmp_path / "twin").mkdir()
    twin.randomise(folder, tmp_path / "twin", seed=0)
    for place in (folder, tmp_path / "twin"):
        assert loaded(place, "auto").engine == "fused"


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("engine", ["auto", "bridge", "fused"])
def test_each_job_checks_the_model_that_it_has_loaded(
    tmp_path: Path, family: str, engine: str
) -> None:
    folder = make_model(tmp_path / "m", family)
    record = asdict(check(loaded(folder, "auto"), tokens(), 0, budget=BUDGET))
    record = json.loads(json.dumps(record))
    check_again(loaded(folder, engine), record)
    others = {"another seed": make_model(tmp_path / "other", family, seed=1)}
    for what, other in others.items():
        with pytest.raises(UserError, match="is not the model that was checked: pre_norm"):
            check_again(loaded(other, engine), record)
            pytest.fail(what)


def test_a_head_that_is_off_is_seen_where_the_output_is_right(tmp_path: Path) -> None:
    model = loaded(make_model(tmp_path), "fused")
    assert isinstance(model.fused, Fused)
    record = asdict(check(loaded(tmp_path, "auto"), tokens(), 0, budget=BUDGET))
    head = replace(model.fused.head, bias=torch.full((VOCAB,), 0.1))
    with pytest.raises(UserError, match="is not the model that was checked: logits differs"):
        check_again(replace(model, fused=replace(model.fused, head=head)), record)


def test_a_model_in_another_dtype_is_held_to_the_coarser_of_the_two(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    record = asdict(check(loaded(folder, "auto"), tokens(), 0, budget=BUDGET))
    for dtype in ("float64", "bfloat16"):
        check_again(load_model(folder, dtype=dtype, device="cpu", threads=1), record)


@pytest.mark.parametrize("engine", ["fused", "bridge"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_measuring_job_runs_no_other_model_than_the_checked_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, engine: str
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    jobs = importlib.import_module("_models")
    checked, swept = make_model(tmp_path / "checked"), make_model(tmp_path / "swept", seed=seed)
    record = asdict(check(loaded(checked, "auto"), tokens(), 0, budget=BUDGET))
    write_json(tmp_path / "check.json", record)
    write_safetensors(tmp_path / "activations", {"resid.0": torch.ones(1)}, {"engine": engine})
    job = SimpleNamespace(
        params=SimpleNamespace(
            refs=["m"], dtype="float32", entry={"layers": [0]},
            compute={"device": "cpu", "device_map": None, "threads": 1},
        ),
        input=SimpleNamespace(
            models=[swept], activations=[tmp_path / "activations"],
            checks=[tmp_path / "check.json"],
        ),
        output=[tmp_path / "raw"],
    )  # fmt: skip
    if seed == 0:
        [(ref, model, _, _)] = jobs.models(job)
        assert (ref, model.engine) == ("m", engine)
    else:
        with pytest.raises(UserError, match="is not the model that was checked"):
            list(jobs.models(job))
