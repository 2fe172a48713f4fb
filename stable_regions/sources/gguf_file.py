"""A GGUF file as a model folder, with all that it says: each key and tensor is carried over, or
refused by name.

transformers reads what it has a place for and drops the rest without a word. So its model is held
against the file: what it did not read must be what its config says, or say nothing.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf as library
import torch
from gguf import GGUFReader, GGUFValueType
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS, is_gguf_arch_supported
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.modeling_gguf_pytorch_utils import (
    GGUF_TO_TRANSFORMERS_MAPPING,
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from stable_regions.base.errors import UserError, first_line, short

# Attributes of a config that a key stands for, the first that it has; a key begins with the name
# of the architecture.
STATED = {
    "attention.clamp_kqv": ("clip_qkv",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.key_length": ("head_dim",),
    "attention.layer_norm_epsilon": (
        "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps",
    ),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.sliding_window": ("sliding_window",),
    "attention.value_length": ("v_head_dim", "head_dim"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "block_count": ("num_hidden_layers",),
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx"),
    "embedding_length": ("hidden_size",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "feed_forward_length": ("intermediate_size", "ffn_hidden_size", "n_inner"),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "logit_scale": ("logit_scale",),
    "use_parallel_residual": ("use_parallel_residual",),
    "vocab_size": ("vocab_size",),
}  # fmt: skip
# What leaves a model as it is.
NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "attention.causal": lambda value: value is True,
    "expert_count": lambda value: value == 0,
    "expert_used_count": lambda value: value == 0,
    "rope.scale_linear": lambda value: value == 1,
    "rope.scaling.finetuned": lambda value: True,  # how it was trained, not what it computes
    "tensor_data_layout": lambda value: value == "Meta AI original pth",
}
# Of a whole model, by itself in its file.
WHOLE: dict[str, Callable[[Any], bool]] = {
    "general.type": lambda value: value == "model",
    "split.count": lambda value: value <= 1,
    "tokenizer.ggml.remove_extra_whitespaces": lambda value: value is False,
}
# What says nothing of what is computed: where a model comes from, how it was quantised, what begins
# and ends a text (a study's own setting), and a tokenizer's parts, which transformers reads.
INFORMATION = (
    "GGUF.", "general.", "quantize.", "split.no", "split.tensors.count", "tokenizer.chat_template",
    "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.merges", "tokenizer.ggml.model", "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type", "tokenizer.ggml.tokens", "tokenizer.huggingface.json",
)  # fmt: skip
SPECIAL = re.compile(r"tokenizer\.ggml\.\w+_token_ids?")
# How a text is cut before merges, that has no pattern in transformers: as GPT-2 does. SmolLM sets
# digits apart, which its merges do by themselves: none of them joins two.
AS_GPT2 = ("default", "gpt-2", "smollm")
# The scaled rotations of published models, of which a file has the result alone.
LLAMA3 = [
    {
        "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    for factor in (8.0, 16.0, 32.0)
]  # fmt: skip


@contextmanager
def _read_once() -> Iterator[None]:
    """Meanwhile a file is read once, and the names of its tensors are put together once.

    transformers does the first for a config, for the weights and for the tokenizer, and the second
    for each module of a model: together more than half of the time that a small model takes.
    """
    patched: Any = library
    plain = library.GGUFReader, library.get_tensor_name_map
    patched.GGUFReader, patched.get_tensor_name_map = cache(plain[0]), cache(plain[1])
    try:
        yield
    finally:
        patched.GGUFReader, patched.get_tensor_name_map = plain


@_read_once()
def convert_gguf(gguf: Path, target: Path) -> None:
    """Make a model folder (float32 safetensors, config, tokenizer) out of a GGUF file.

    Raises
    ------
    UserError
        If the file is truncated, is not a GGUF file of a model that transformers can read, holds
        fewer or more weights than the model has, or says of the model what is not carried over.
    """
    folder, name = str(gguf.parent), gguf.name
    try:
        reader = library.GGUFReader(f"{folder}/{name}")
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except Exception as error:  # the readers below raise whatever they stumble on
        if "ignore_mismatched_sizes" in str(error):
            problem = "the weights have other shapes than the metadata says"
            raise UserError(f"{name}: {problem}") from None
        raise UserError(f"{name}: not a whole, readable GGUF file ({first_line(error)})") from None
    model, info = loaded
    # transformers fills what the file lacks with random numbers
    if absent := sorted(info["missing_keys"]):
        raise UserError(f"{name}: the weights lack {absent[0]} ({len(absent)} tensors missing)")
    rotation = _check_metadata(name, _scalars(reader), model, tokenizer)
    rotation = _check_tensors(name, reader, model, set(info["unexpected_keys"])) or rotation
    # A model read from GGUF refuses to be saved: its config says that it is quantised, which it
    # no longer is. So its state moves into a model made from a clean config.
    settings = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    if rotation:
        settings["rope_parameters"] = settings["rope_parameters"] | rotation
    with torch.device("meta"):
        plain = type(model)(type(model.config).from_dict(settings))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _scalars(reader: GGUFReader) -> dict[str, Any]:
    """The metadata; of an array, the value that all its entries are, or else how many there are."""
    scalars = {}
    for key, field in reader.fields.items():
        if field.types and field.types[0] == GGUFValueType.ARRAY:
            numbers = field.types[-1] != GGUFValueType.STRING and len(field.data) <= 1024
            values = set(field.contents()) if numbers else set()
            scalars[key] = values.pop() if len(values) == 1 else [len(field.data)]
        else:
            scalars[key] = field.contents()
    return scalars


def _check_metadata(
    name: str, metadata: Mapping[str, Any], model: Any, tokenizer: Any
) -> dict[str, Any] | None:
    """See that a model is what its file's keys say; return the rotation that they ask for."""
    architecture, config = metadata["general.architecture"], model.config
    attributes: Any = GGUF_TO_TRANSFORMERS_MAPPING["config"]
    read = {
        key
        for kind in (architecture, config.model_type)
        for key, attribute in attributes.get(kind, {}).items()
        if attribute not in (None, -1)
    }
    rotation = _linear(metadata, architecture, config)
    for key, value in metadata.items():
        own = key.removeprefix(f"{architecture}.")
        if key in WHOLE:
            right = WHOLE[key](value)
        elif key == "tokenizer.ggml.pre":
            cut = metadata.get("tokenizer.ggml.model") == "gpt2"
            right = not cut or value in AS_GPT2 or value in GGUF_PRE_TOKENIZER_SPLITS
        elif key == "tokenizer.ggml.add_space_prefix":
            pieces = tokenizer.tokenize("a")
            spaced = bool(pieces) and pieces[0].startswith("\u2581")
            right = metadata.get("tokenizer.ggml.model") != "llama" or value == spaced
        elif key.startswith(INFORMATION) or SPECIAL.fullmatch(key) or _neutral(own, value):
            right = True
        elif own == "rope.dimension_count":
            right = value in [2 * len(each) for each in _frequencies(model)]
        elif own == "rope.freq_base":
            right = any(math.isclose(value, base, rel_tol=1e-6) for base in _bases(config))
        elif own.startswith("rope.scaling."):
            right = rotation is not None
        elif own in STATED and architecture not in GGUF_CONFIG_ARCHS:
            right = _matches(config, STATED[own], value)
        else:  # what the library reads into attributes of its own
            right = own in read or architecture in GGUF_CONFIG_ARCHS
        if not right:
            raise UserError(
                f"{name}: {key}: holds {short(value)}, which cannot be carried over; give the "
                "model as a folder with config.json"
            )
    return rotation


def _matches(config: Any, attributes: tuple[str, ...], value: Any) -> bool:
    """Whether the first of these attributes that a config has is a value, to float32's bits."""
    stated = next(
        (x for name in attributes if (x := getattr(config, name, None)) is not None), None
    )
    if stated is None and "head_dim" in attributes:
        stated = config.hidden_size // config.num_attention_heads
    if isinstance(value, bool) or stated is None:
        return stated is value
    return not isinstance(value, str | list) and math.isclose(stated, value, rel_tol=1e-5)


def _neutral(key: str, value: Any) -> bool:
    return key in NEUTRAL and NEUTRAL[key](value)


def _frequencies(model: Any) -> list[torch.Tensor]:
    names = re.compile(r"(?<!original_)inv_freq$")
    return [each for name, each in model.named_buffers() if names.search(name)]


def _rotations(config: Any) -> list[Mapping[str, Any]]:
    """The rotations of a config: one, or one for each kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [each for each in parameters.values() if isinstance(each, Mapping)]
    return nested or [parameters]


def _bases(config: Any) -> list[float]:
    return [each["rope_theta"] for each in _rotations(config) if each.get("rope_theta")]


def _linear(metadata: Mapping[str, Any], architecture: str, config: Any) -> dict[str, Any] | None:
    """The rotation that a file's scaling asks for: none, or a linear one; None for any other."""
    prefix = f"{architecture}.rope.scaling."
    values = {key.removeprefix(prefix): value for key, value in metadata.items() if prefix in key}
    values.pop("finetuned", None)
    kind, factor = values.pop("type", "none"), values.pop("factor", 1.0)
    if values or kind not in ("none", "linear") or len(_rotations(config)) > 1:
        return None
    if kind == "none":
        return {} if factor in (0.0, 1.0) else None
    if _rotations(config)[0].get("rope_type", "default") != "default":
        return None
    return {"rope_type": "linear", "factor": factor}


def _check_tensors(
    name: str, reader: GGUFReader, model: Any, unexpected: set[str]
) -> dict[str, Any] | None:
    """See that each tensor has its place; return the rotation that the file's frequencies are."""
    architecture = str(reader.fields["general.architecture"].contents())
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if is_gguf_arch_supported(architecture):
        unused = sorted(unexpected)
    else:
        processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config)
        places = get_gguf_hf_weights_map(model, processor)
        unused = [
            each for each in tensors if each not in places and each.rpartition(".")[0] not in places
        ]
    rotation = None
    if "rope_freqs.weight" in unused:
        rotation = _scaled(model, torch.from_numpy(tensors["rope_freqs.weight"].data.copy()))
        if rotation is not None:
            unused.remove("rope_freqs.weight")
    if unused:
        raise UserError(
            f"{name}: holds {unused[0]}, for which the model has no place; give the model as a "
            "folder with config.json"
        )
    return rotation


def _scaled(model: Any, divisors: torch.Tensor) -> dict[str, Any] | None:
    """The rotation whose frequencies are the model's, divided so; None if none is known."""
    if bool((divisors == 1).all()):
        return {}
    own, config = _frequencies(model), model.config
    for settings in LLAMA3 if len(own) == 1 and divisors.shape == own[0].shape else []:
        scaled = type(config).from_dict(config.to_dict())
        scaled.rope_parameters = scaled.rope_parameters | settings
        frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](scaled, device="cpu")
        if torch.allclose(own[0] / divisors, frequencies, rtol=1e-4, atol=0):
            return settings
    return None
