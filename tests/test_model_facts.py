"""What is said of a model is what the loaded model is: parameters, norm, gates, memory."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from stable_regions.base.errors import UserError
from stable_regions.models import huggingface
from stable_regions.models.check import check
from stable_regions.models.facts import model_row
from stable_regions.models.load import load_model
from stable_regions.models.model import Model
from stable_regions.models.shapes import shape_of
from stable_regions.models.sweep import clean
from stable_regions.sources import packages as sources
from tests.models import D_MLP, FAMILIES, MIXTURES, OTHERS, WITH_IMAGES, make_model, make_whole

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


def test_a_revision_is_named_as_the_hub_has_it(tmp_path: Path) -> None:
    row(make_model(tmp_path, "llama"))
    assert model_row("m@refs%2Fpr%2F1", tmp_path)["revision"] == "refs/pr/1"


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
    with pytest.raises(UserError, match="layer 2 .*gates"):
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


SIZES = ("layers", "width", "heads", "vocabulary", "tied", "weights")


@pytest.mark.parametrize(
    "family", ["gpt_neo", "gemma3_text", "llama", "gpt2", "opt", "mistral", "bloom", "falcon"]
)
def test_what_a_config_leaves_to_the_library_is_its_default(family: str) -> None:
    bare = shape_of({"model_type": family, "vocab_size": 61})
    full = shape_of(AutoConfig.for_model(family, vocab_size=61).to_dict())
    assert {name: getattr(bare, name) for name in SIZES} == {
        name: getattr(full, name) for name in SIZES
    }


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS, *MIXTURES])
def test_a_head_is_tied_where_the_library_ties_it(family: str) -> None:
    config = AutoConfig.for_model(family)
    message = {"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 9}
    assert shape_of({"model_type": family, **message}).tied == config.tie_word_embeddings


def test_the_text_part_of_a_sparse_config_is_the_library_s() -> None:
    """As Gemma 3's is on the hub: heads and vocabulary are the library's."""
    text = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34}
    shape = shape_of({"model_type": "gemma3", "text_config": text})
    assert (shape.layers, shape.heads, shape.vocabulary, shape.tied) == (34, 8, 262208, True)
    unnamed = shape_of({"model_type": "llava", "text_config": {"num_hidden_layers": 5}})
    assert (unnamed.model_type, unnamed.layers, unnamed.width) == ("llama", 5, 4096)


def test_a_folder_whose_config_says_two_things_is_measured(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "gpt_neo", n_layers=2, hidden_size=2048, num_heads=16)
    config = {"model_type": "gpt_neo", "num_layers": 2}
    message = ("attention_types", "intermediate_size", "vocab_size", "max_position_embeddings")
    whole = json.loads((folder / "config.json").read_text())
    config |= {key: whole[key] for key in message}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    sources.check_local(folder)
    assert load_model(folder, device="cpu", threads=1).d_model == 2048


def test_a_point_runs_through_the_experts_that_it_is_given(tmp_path: Path) -> None:
    """Mixtral 8x7B: 12.9 G weights a token, of which embedding and head are 0.26 G."""
    shape = shape_of(AutoConfig.for_model("mixtral").to_dict())
    assert shape.operations(-1, logits=True) / 2 == pytest.approx(12.88e9 - 0.13e9, rel=0.01)
    assert shape.peak_memory(["float32"], 0) == pytest.approx(4 * 46.7e9, rel=0.01)


def test_a_local_layer_s_mask_in_an_old_file_is_the_model_s_own(tmp_path: Path) -> None:
    """As TinyStories models of the hub are laid out: each layer's mask beside its weights."""
    folder = make_model(tmp_path, "gpt_neo")
    weights = load_file(folder / "model.safetensors")
    near = torch.ones(64, 64, dtype=torch.uint8).tril()
    near -= near.tril(-16)
    for layer, mask in enumerate(
        (near.new_ones(64, 64).tril(), near, near.new_ones(64, 64).tril())
    ):
        weights[f"transformer.h.{layer}.attn.attention.bias"] = mask[None, None].clone()
        weights[f"transformer.h.{layer}.attn.attention.masked_bias"] = torch.tensor(-1e9)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = load_model(folder, device="cpu", threads=1)
    assert check(model, torch.arange(20).reshape(2, 10), 0, budget=BUDGET).verdict == "passed"
    weights["transformer.h.1.attn.attention.bias"] = near.new_ones(64, 64).tril()[None, None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"the weights hold transformer\.h\.1\.attn\.attention\.bias"
    ):
        huggingface.load(folder)


def texts(family: str) -> torch.Tensor:
    return torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", WITH_IMAGES)
def test_the_text_part_of_a_model_of_images_is_what_the_whole_makes_of_text(
    tmp_path: Path, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_whole(tmp_path, family)
    (folder / "tokenizer.json").write_text("{}")
    sources.check_local(folder)
    with caplog.at_level("INFO"):
        part = huggingface.load(folder)
    assert "tensors are no part of the decoder and are left out, as " in caplog.text
    whole = AutoModelForImageTextToText.from_pretrained(folder).eval()
    tokens = texts(family)
    torch.testing.assert_close(part(tokens).logits, whole(tokens).logits, rtol=1e-5, atol=1e-6)
    facts = row(folder)
    assert facts["parameters"] == huggingface.parameter_count(part)
    assert facts["layers"] == len(huggingface.layers_of(part) or ())


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3"])
def test_the_text_part_of_a_model_of_images_is_swept(tmp_path: Path, family: str) -> None:
    model = load_model(make_whole(tmp_path, family), device="cpu", threads=1)
    assert check(model, texts(family), 0, budget=BUDGET).verdict == "passed"


@pytest.mark.parametrize("of", ["mistral3", pytest.param("qwen3_5", marks=pytest.mark.slow)])
def test_a_head_in_the_files_is_the_head_whatever_the_config_says(tmp_path: Path, of: str) -> None:
    """Mistral Small 3.1 has a head of its own, and a config that leaves that to the library."""
    folder = make_whole(tmp_path, of, tie_word_embeddings=False)
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    tokens = texts(of)
    whole = AutoModelForImageTextToText.from_pretrained(folder).eval()
    part = huggingface.load(folder)
    torch.testing.assert_close(part(tokens).logits, whole(tokens).logits, rtol=1e-5, atol=1e-6)
    assert row(folder)["parameters"] == huggingface.parameter_count(part)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("gemma3", "language_model.model.layers.1.mlp.up_proj.bias"),
        ("gemma3", "language_model.model.layers.3.mlp.up_proj.weight"),
        ("gemma3", "model.layers.3.mlp.up_proj.weight"),
        ("qwen3_5", "model.language_model.other.weight"),
        ("qwen3_5", "lm_head.bias"),
    ],
)
def test_a_weight_of_the_text_part_is_not_left_out(tmp_path: Path, family: str, name: str) -> None:
    folder = make_whole(tmp_path, family)
    weights = load_file(folder / "model.safetensors")
    weights[name] = torch.ones(48)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"the weights hold {name}[;,] "):
        huggingface.load(folder)


def test_a_text_part_that_transformers_does_not_run_alone_is_refused(tmp_path: Path) -> None:
    AutoConfig.for_model("qwen2_5_vl").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="'qwen2_5_vl_text'"):
        huggingface.read_config(tmp_path)
