"""A GGUF file becomes the model that it is: all it says is carried over, or refused by name."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from stable_regions.base.errors import UserError
from stable_regions.models.load import load_model
from stable_regions.sources.gguf_file import LLAMA3, convert_gguf
from tests.gguf_model import write_gguf
from tests.tiny_study import make_sources

WIDTH, MLP, VOCABULARY = 32, 64, 10


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("gguf")
    make_sources(where)
    return where / "sources" / "tiny-llama"


def converted(llama: Path, where: Path, **more: Any) -> Path:
    write_gguf(llama, where / "x.gguf", **more)
    (where / "made").mkdir()
    convert_gguf(where / "x.gguf", where / "made")
    return where / "made"


def logits(folder: Path, **config: Any) -> torch.Tensor:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, **config)
    return model(torch.arange(20)[None]).logits.detach()


def test_a_file_is_the_model_that_it_was_made_of(llama: Path, tmp_path: Path) -> None:
    torch.testing.assert_close(logits(converted(llama, tmp_path)), logits(llama))


def test_a_file_is_read_once_and_the_library_left_as_it_was(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, named = Mock(wraps=gguf.GGUFReader), Mock(wraps=gguf.get_tensor_name_map)
    monkeypatch.setattr(gguf, "GGUFReader", read)
    monkeypatch.setattr(gguf, "get_tensor_name_map", named)
    converted(llama, tmp_path)
    assert (read.call_count, named.call_count) == (1, 1)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == (read, named)


def test_a_measuring_job_loads_it_for_fused_sweeps_alone(llama: Path, tmp_path: Path) -> None:
    made = converted(llama, tmp_path, said={"tokenizer.ggml.unknown_token_id": 0})
    assert "unk_token_id" in json.loads((made / "config.json").read_text())
    model = load_model(made, engine="fused", threads=1)
    assert model.fused is not None
    assert model.hooks is None


def test_a_linear_rotation_is_carried_over(llama: Path, tmp_path: Path) -> None:
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8.0}
    made = converted(llama, tmp_path, said=scaling)
    rotation = {"rope_type": "linear", "factor": 8.0, "rope_theta": 10000.0}
    expected = logits(llama, rope_parameters=rotation)
    torch.testing.assert_close(logits(made), expected)
    assert not torch.allclose(expected, logits(llama), rtol=1e-2)


@pytest.mark.parametrize("settings", LLAMA3)
def test_the_frequencies_of_llama_3_are_carried_over(
    llama: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """A file has the divisors of the rotation's frequencies, and nothing else of it."""
    base = 500_000.0
    rotation = settings | {"rope_theta": base}
    model = AutoModelForCausalLM.from_pretrained(llama, rope_parameters=rotation)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, device="cpu")
    plain = 1 / base ** (torch.arange(0, 8, 2) / 8)
    made = converted(
        llama, tmp_path,
        said={"llama.rope.freq_base": base},
        tensors={"rope_freqs.weight": (plain / scaled).numpy()},
    )  # fmt: skip
    assert json.loads((made / "config.json").read_text())["rope_parameters"] == rotation
    torch.testing.assert_close(logits(made), logits(llama, rope_parameters=rotation))


def test_frequencies_that_change_nothing_are_nothing(llama: Path, tmp_path: Path) -> None:
    ones = np.ones(4, np.float32)
    made = converted(llama, tmp_path, tensors={"rope_freqs.weight": ones})
    torch.testing.assert_close(logits(made), logits(llama))


SAID: dict[str, Any] = {
    "general.type": "adapter",
    "llama.attention.causal": False,
    "llama.attention.clamp_kqv": 8.0,
    "llama.attention.key_length": 16,
    "llama.attention.layer_norm_epsilon": 1e-5,
    "llama.attention.scale": 0.5,
    "llama.attention.sliding_window": 16,
    "llama.attention.value_length": 16,
    "llama.attn_logit_softcapping": 50.0,
    "llama.expert_count": 8,
    "llama.final_logit_softcapping": 30.0,
    "llama.logit_scale": 2.0,
    "llama.rope.scale_linear": 4.0,
    "llama.rope.scaling.attn_factor": 2.0,
    "llama.use_parallel_residual": True,
    "split.count": 2,
    "tokenizer.ggml.pre": "nobody-knows",
    "tokenizer.ggml.remove_extra_whitespaces": True,
    "who.knows": 1,
}


@pytest.mark.parametrize("key", SAID)
def test_a_key_that_is_not_carried_over_is_named(llama: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=f"x.gguf: {key}: "):
        converted(llama, tmp_path, said={key: SAID[key]})
    assert list((tmp_path / "made").iterdir()) == []


def test_a_rotation_of_a_part_of_a_head_is_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x.gguf: .*shapes"):
        converted(llama, tmp_path, said={"llama.rope.dimension_count": 4})


def test_a_yarn_rotation_is_named(llama: Path, tmp_path: Path) -> None:
    scaling = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 8.0}
    with pytest.raises(UserError, match="llama.rope.scaling.type: .*'yarn'"):
        converted(llama, tmp_path, said=scaling)


TENSORS = {
    "rope_freqs.weight": 4,
    "rope_factors_long.weight": 4,
    "blk.1.attn_q.bias": WIDTH,
    "blk.1.attn_output.bias": WIDTH,
    "blk.1.ffn_down.bias": WIDTH,
    "blk.1.ffn_up.bias": MLP,
    "blk.0.attn_q_norm.weight": 8,
    "blk.0.attn_sinks.weight": 4,
    "output.bias": VOCABULARY,
    "output_norm.bias": WIDTH,
    "position_embd.weight": WIDTH,
}


@pytest.mark.parametrize("tensor", TENSORS)
def test_a_tensor_without_a_place_is_named(llama: Path, tmp_path: Path, tensor: str) -> None:
    values = np.linspace(1, 2, TENSORS[tensor], dtype=np.float32)
    with pytest.raises(UserError, match=f"x.gguf: .*{tensor}"):
        converted(llama, tmp_path, tensors={tensor: values})


@pytest.mark.parametrize("cut", ["default", "gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_a_text_is_cut_as_the_file_says(llama: Path, tmp_path: Path, cut: str) -> None:
    made = AutoTokenizer.from_pretrained(
        converted(llama, tmp_path, said={"tokenizer.ggml.pre": cut})
    )
    pieces = made.backend_tokenizer.pre_tokenizer.pre_tokenize_str("(house 12345")
    words = [piece for piece, _ in pieces]
    assert ("(house" in words) == (cut in ("llama-bpe", "qwen2"))
