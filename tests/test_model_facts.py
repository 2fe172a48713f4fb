"""What is said of a model is what the loaded model is: parameters, norm, gates, memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from stable_regions.base.errors import UserError
from stable_regions.models import huggingface
from stable_regions.models.check import check
from stable_regions.models.facts import model_row
from stable_regions.models.load import load_model
from stable_regions.models.model import Model
from stable_regions.models.shapes import shape_of
from stable_regions.models.sweep import clean
from stable_regions.sources import packages as sources
from tests.models import D_MLP, FAMILIES, MIXTURES, OTHERS, make_model

BUDGET = 2**30
LAYER_NORMS = {
    "gpt2", "gpt_neox", "phi", "olmo", "gptj", "cohere", "falcon", "opt", "starcoder2", "bloom",
    "stablelm", "codegen", "gpt_bigcode", "nemotron", "gpt_neo", "cohere2", "mpt",
}  # fmt: skip
RMS_NORMS = {"llama", "qwen2", "gemma2", "gemma3_text", "olmo2", "phi3", "granite", "mixtral"}


def row(folder: Path) -> dict:
    (folder / "tokenizer.json").write_text("{}")
    sources.describe(folder, source={"kind": "local"}, family="F", licence="L")
    return model_row("m", folder)


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_parameters_and_norm_are_the_loaded_model_s(tmp_path: Path, family: str) -> None:
    folder = make_model(tmp_path, family)
    hf = AutoModelForCausalLM.from_pretrained(folder)
    facts = row(folder)
    assert facts["parameters"] == sum(weight.numel() for weight in hf.parameters())
    assert facts["layers"] == 3
    if family in LAYER_NORMS:
        assert facts["norm"] == "LayerNorm"
    elif family in RMS_NORMS:
        assert facts["norm"] == "RMSNorm"


@pytest.mark.parametrize("family", sorted(LAYER_NORMS | RMS_NORMS))
def test_a_norm_is_known_by_what_it_does(family: str) -> None:
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 4} if family == "nemotron" else {}
    model = huggingface.initialise(AutoConfig.for_model(family, **sizes), device="meta")
    assert huggingface.norm_kind(model) == ("layer" if family in LAYER_NORMS else "rms")


def test_buffers_and_copies_of_a_tied_head_are_no_parameters(tmp_path: Path) -> None:
    """As the hub's GPT-2 is laid out: no prefix, causal masks, and a head that is the embedding."""
    folder = make_model(tmp_path, "gpt2")
    before = row(folder)["parameters"]
    weights = {
        name.removeprefix("transformer."): weight
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    mask = torch.ones(64, 64).tril()[None, None]
    for layer in range(3):
        weights[f"h.{layer}.attn.bias"] = mask.clone()
        weights[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    weights["lm_head.weight"] = weights["wte.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert row(folder)["parameters"] == before
    model = load_model(folder, device="cpu", threads=1)
    assert model.n_parameters == before
    assert check(model, torch.arange(20).reshape(2, 10), 0, budget=BUDGET).verdict == "passed"


@pytest.mark.parametrize("family", MIXTURES)
def test_a_mixture_is_swept_but_its_router_is_no_gate(
    model_of: Callable[..., Model], family: str
) -> None:
    model = model_of(family)
    assert check(model, torch.arange(20).reshape(2, 10), 0, budget=BUDGET).verdict == "passed"
    dense = {"glm4_moe": 2, "ernie4_5_moe": 2}.get(family, 0)
    assert [gate and gate.width for gate in model.gates] == [D_MLP] * dense + [None] * (3 - dense)
    with pytest.raises(UserError, match="the MLP of layer 2 .* has no gates of its own, as a mixt"):
        clean(model, torch.arange(20).reshape(2, 10), [0], sites=["gate.2"], budget=BUDGET)


@pytest.mark.parametrize("family", ["glm4_moe", "ernie4_5_moe"])
def test_a_dense_layer_of_a_mixture_has_its_gates(
    model_of: Callable[..., Model], family: str
) -> None:
    model, tokens = model_of(family), torch.arange(20).reshape(2, 10)
    seen: list[torch.Tensor] = []
    activation = model.bridge.blocks[1].original_component.mlp.act_fn
    handle = activation.register_forward_pre_hook(lambda _, args: seen.append(args[0][:, -1]))
    gates = clean(model, tokens, [0], sites=["gate.1"], budget=BUDGET)["gate.1"]
    handle.remove()
    assert torch.equal(seen[-1], gates)


@pytest.mark.parametrize(
    "family",
    [
        "mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3", "glm4_moe",
        "ernie4_5_moe", "granitemoe", "minimax_m2", "gpt_oss", "llama", "gemma2", "opt", "codegen",
    ],
)  # fmt: skip
def test_the_weights_of_a_shape_are_the_model_s_to_two_per_cent(family: str) -> None:
    """All experts of a mixture, as its published model has them: Mixtral 8x7B has 46.7 G."""
    config = AutoConfig.for_model(family)
    held = huggingface.parameter_count(huggingface.initialise(config, device="meta"))
    assert shape_of(config.to_dict()).weights == pytest.approx(held, rel=0.02)


def test_a_point_runs_through_the_experts_that_it_is_given(tmp_path: Path) -> None:
    """Mixtral 8x7B: 12.9 G weights a token, of which embedding and head are 0.26 G."""
    shape = shape_of(AutoConfig.for_model("mixtral").to_dict())
    assert shape.operations(-1, logits=True) / 2 == pytest.approx(12.88e9 - 0.13e9, rel=0.01)
    assert shape.held(["float32"], 0) == pytest.approx(4 * 46.7e9, rel=0.01)
