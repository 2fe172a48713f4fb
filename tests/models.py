"""Small random models, one of each architecture family, whose attention and MLP both matter."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)

D_MODEL, HEADS, KV_HEADS, D_MLP, VOCAB, MAX_TOKENS, WINDOW = 32, 4, 2, 48, 61, 64, 16

COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": D_MODEL,
    "intermediate_size": D_MLP,
    "num_attention_heads": HEADS,
    "max_position_embeddings": MAX_TOKENS,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**COMMON, "num_key_value_heads": KV_HEADS}
GEMMA = {**GROUPED, "head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 5}
GPT = {
    "vocab_size": VOCAB,
    "n_embd": D_MODEL,
    "n_head": HEADS,
    "n_positions": MAX_TOKENS,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SETTINGS: dict[str, dict] = {
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": WINDOW},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 16},
    "olmo": {**GROUPED, "clip_qkv": 1.5},
    "olmo2": GROUPED,
    "gpt_neox": COMMON,
    "gpt2": GPT,
    "phi": COMMON,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gptj": {**GPT, "rotary_dim": 4},
}
FAMILIES = list(SETTINGS)
# Others that the table of docs/models.md has.
OTHERS: dict[str, dict] = {
    "gemma": {**GROUPED, "head_dim": 8},
    "olmo3": {**GROUPED, "sliding_window": WINDOW},
    "smollm3": GROUPED,
    "granite": GROUPED,
    "cohere": GROUPED,
    "phi3": GROUPED,
    "starcoder2": GROUPED,
    "falcon": COMMON,
    "opt": {**COMMON, "ffn_dim": D_MLP, "word_embed_proj_dim": D_MODEL},
    "openai-gpt": GPT,
    "gpt_neo": {
        "vocab_size": VOCAB, "hidden_size": D_MODEL, "intermediate_size": D_MLP, "num_heads": HEADS,
        "max_position_embeddings": MAX_TOKENS, "window_size": WINDOW, "bos_token_id": 1,
        "eos_token_id": 2,
    },
}  # fmt: skip
# What neither engine can run: another mask, recurrent layers, or a library that does not know them.
LINEAR = {
    "head_dim": 8, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}  # fmt: skip
DECODED: dict[str, dict] = {
    "bloom": {"vocab_size": VOCAB, "hidden_size": D_MODEL, "n_head": HEADS},
    "mpt": {
        "vocab_size": VOCAB, "d_model": D_MODEL, "n_heads": HEADS, "max_seq_len": MAX_TOKENS,
        "expansion_ratio": 2,
    },
    "mamba": {"vocab_size": VOCAB, "hidden_size": D_MODEL, "state_size": 4},
    "jamba": {
        **GROUPED, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
        "mamba_d_state": 4, "use_mamba_kernels": False,
    },
    "qwen3_5_text": {**GROUPED, **LINEAR},
    "granitemoehybrid": {
        **GROUPED, "num_local_experts": 2, "num_experts_per_tok": 1, "shared_intermediate_size": 16,
        "layer_types": ["mamba", "attention", "mamba"], "mamba_n_heads": 8, "mamba_d_head": 8,
        "mamba_d_state": 4,
    },
    "lfm2": {**GROUPED, "layer_types": ["conv", "full_attention", "conv"]},
    "zamba2": {
        **GROUPED, "mamba_d_state": 4, "n_mamba_heads": 8, "mamba_headdim": 8,
        "hybrid_layer_ids": [1], "layers_block_type": ["mamba", "hybrid", "mamba"],
    },
    "gemma4_text": {
        **GROUPED, "head_dim": 8, "global_head_dim": 8, "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCAB, "layer_types": ["full_attention"] * 3,
        "num_kv_shared_layers": 0, "sliding_window": WINDOW,
    },
    "biogpt": COMMON,
}  # fmt: skip
# Mixtures of experts.
MIXTURE = {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MIXTURES: dict[str, dict] = {
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "olmoe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {**MIXTURE, "shared_expert_intermediate_size": 40},
    "qwen3_moe": {**MIXTURE, "head_dim": 8},
    "granitemoe": {**GROUPED, "num_local_experts": 4},
    "minimax_m2": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
    "gpt_oss": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
    "glm4_moe": {
        **GROUPED, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "first_k_dense_replace": 2, "head_dim": 8,
    },
    "ernie4_5_moe": {
        **GROUPED, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24,
        "moe_layer_start_index": 2, "moe_num_shared_experts": 1,
    },
}  # fmt: skip

# Models of texts and images, around one of texts.
TEXT = {**GROUPED, "num_hidden_layers": 3, "head_dim": 8}
IMAGE = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
QWEN_IMAGE = {
    "depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
}  # fmt: skip
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "num_hidden_layers": 4,
}  # fmt: skip
WITH_IMAGES: dict[str, dict] = {
    "gemma3": {
        "text_config": {**GEMMA, "num_hidden_layers": 3}, "vision_config": IMAGE,
        "mm_tokens_per_image": 1,
    },
    "mistral3": {"text_config": TEXT | {"model_type": "mistral"}, "vision_config": IMAGE},
    "llava": {"text_config": TEXT | {"model_type": "llama"}, "vision_config": IMAGE},
    "qwen3_5": {"text_config": TEXT | LINEAR, "vision_config": QWEN_IMAGE},
    "smolvlm": {"text_config": TEXT | {"model_type": "llama"}, "vision_config": IMAGE},
}  # fmt: skip


def make_whole(folder: Path, family: str, **changes: Any) -> Path:
    """Write a random model of texts and images into `folder`, as its own library saves it."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **WITH_IMAGES[family], **changes)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return folder


def make_model(
    folder: Path, family: str = "llama", n_layers: int = 3, seed: int = 0, **changes: Any
) -> Path:
    """Write a random model of `family` into `folder` as float32 safetensors; return `folder`.

    `changes` go into the config.
    """
    settings = (SETTINGS | OTHERS | DECODED | MIXTURES)[family]
    layers = "n_layer" if settings.get("n_embd") else "num_hidden_layers"
    depth: dict[str, Any] = {layers: n_layers}
    if family == "gpt_neo":  # layer by layer: near and far
        kinds = [("global", "local")[n % 2] for n in range(n_layers)]
        depth = {"num_layers": n_layers, "attention_types": [[kinds, 1]]}
    if family == "gemma3_text":  # each kind has a rotation of its own
        kinds = [("sliding_attention", "full_attention")[n % 2] for n in range(n_layers)]
        depth["layer_types"] = kinds
    config = AutoConfig.for_model(family, **{**settings, **depth, **changes})
    model = AutoModelForCausalLM.from_config(config)
    draw(model, seed)
    model.save_pretrained(folder)
    return folder


def draw(model: PreTrainedModel, seed: int = 0) -> None:
    """Give a model weights with which each of its parts matters."""
    generator = torch.Generator().manual_seed(seed)
    is_gemma = "gemma" in model.config.model_type
    for name, weight in model.named_parameters():
        # default weights are so small that a block hardly changes what passes through it
        noise = torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim > 1 else 0.1)
        is_gain = weight.ndim == 1 and name.endswith("weight") and not is_gemma
        weight.data = 1 + noise if is_gain else noise
