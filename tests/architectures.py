"""A tiny random model of each architecture that transformers has, made of its config's defaults."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING

from tests.models import D_MODEL, MAX_TOKENS, VOCAB, WINDOW, draw

LAYERS = 3
DEPTH = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# What makes a model tiny: a value, and the names that configs have for what is to hold it.
TINY: list[tuple[Any, str]] = [
    (VOCAB, "vocab_size vocab_size_per_layer_input"),
    (D_MODEL, "hidden_size n_embd d_model attention_hidden_size word_embed_proj_dim lru_width"
     " out_hidden_size"),
    (48, "intermediate_size ffn_dim n_inner ffn_hidden_size intermediate_size_mlp"
     " encoder_ffn_dim"),
    (24, "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size"
     " shared_intermediate_size moe_shared_expert_intermediate_size"),
    (4, "num_attention_heads n_head n_heads num_heads attention_heads linear_num_value_heads"
     " num_experts num_local_experts n_routed_experts moe_num_experts mamba_d_state state_size"
     " ssm_state_size encoder_attention_heads index_n_heads rotary_dim num_k_heads"),
    (2, "num_key_value_heads num_kv_heads num_experts_per_tok moe_k linear_num_key_heads"
     " n_group topk_group o_groups"),
    (8, "head_dim v_head_dim qk_nope_head_dim linear_key_head_dim linear_value_head_dim"
     " kv_channels global_head_dim query_pre_attn_scalar hidden_size_per_layer_input"
     " q_lora_rank kv_lora_rank o_lora_rank mamba_n_heads mamba_d_head mamba_num_heads"
     " mamba_head_dim n_mamba_heads mamba_headdim index_head_dim adapter_rank time_step_rank"
     " mamba_dt_rank num_global_key_value_heads"),
    (4, "qk_rope_head_dim"),
    (MAX_TOKENS, "max_position_embeddings n_positions n_ctx max_seq_len context_length"
     " attention_chunk_size original_max_position_embeddings max_source_positions"),
    (LAYERS, "num_hidden_layers n_layer n_layers num_layers encoder_layers depth"),
    (WINDOW, "sliding_window window_size attention_window_size local_attention index_topk"),
    (1, "first_k_dense_replace moe_num_shared_experts n_shared_experts"),
    (28, "image_size"), (14, "patch_size"),
    (0, "pad_token_id"), (1, "bos_token_id"), (2, "eos_token_id"),
    (False, "use_mamba_kernels"),
]  # fmt: skip
NAMED = {name: value for value, names in TINY for name in names.split()}
# What follows from no name.
OWN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "emu3": {"vocabulary_map": {"<image>": 3}},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma4_text": {"global_head_dim": 8, "num_kv_shared_layers": 1},
    "gemma4_unified_text": {"global_head_dim": 8, "num_kv_shared_layers": 1},
    "gemma3n_text": {"num_kv_shared_layers": 1},
    "glm_moe_dsa": {"num_key_value_heads": 4},
    "deepseek_v2": {"num_key_value_heads": 4},
    "deepseek_v3": {"num_key_value_heads": 4},
    "glm4_moe_lite": {"num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "num_layers": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "mamba2": {"num_heads": 8},
    "youtu": {"num_key_value_heads": 4},
}


def tiny(kind: Any) -> dict[str, Any]:
    """What a tiny config of a class is made with."""
    name, default = kind.model_type, kind().to_dict()
    known = {field.name for field in dataclasses.fields(kind)} | {*kind.attribute_map}
    values = {key: value for key, value in NAMED.items() if key in known and key in default}
    for key, inner in kind.sub_configs.items():
        if inner is transformers.AutoConfig:
            inner = CONFIG_MAPPING[default[key]["model_type"]]
        values[key] = tiny(inner) | {"model_type": inner.model_type}
    # what each layer is: each kind of layer once, and then from the start again
    deep = next((key for key in DEPTH if default.get(key)), "")
    lists = {
        key: [each[n] for n in range(len(each)) if each.index(each[n]) == n]
        for key, each in default.items()
        if isinstance(each, list | tuple) and len(each) == default.get(deep) and key in known
    }
    lists = {key: each for key, each in lists.items() if len(each) < default[deep]}
    if lists:
        values[deep] = max([LAYERS, *map(len, lists.values())])
        values |= {key: (each * values[deep])[: values[deep]] for key, each in lists.items()}
    return values | OWN.get(name, {})


def make_architecture(folder: Path, name: str) -> Path:
    """Write a tiny random model of a class of transformers into a folder."""
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    model = cls(cls.config_class(**tiny(cls.config_class)))
    draw(model)
    model.save_pretrained(folder)
    return folder
