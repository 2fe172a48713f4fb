"""A sweep's forward pass written out for the gated rotary family: Llama, Mistral, Qwen2, OLMo.

The same sums as the bridge's in fewer and larger steps: one product for query, key and value, one
for gate and up, residual additions in place, and no mask, since a point's scores are those with
the prefix and the one with itself. Rotary attention knows differences of positions alone, so the
last position is called 0, where the rotation is the identity, and the prefix lies at -P..-1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

FAMILIES = {"llama", "mistral", "qwen2", "olmo"}
# the others change a rotation's length or its frequencies with the prompt's
ROTATIONS = {"default", "linear", "llama3"}


@dataclass(frozen=True)
class Product:
    """A matrix product, `x @ weight.T + bias`."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None

    def __call__(self, x: Float[Tensor, "n in"]) -> Float[Tensor, "n out"]:
        if x.is_cpu and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            # oneDNN's product; MKL's, which torch itself would take, was a tenth slower
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Layer:
    norm_attention: nn.Module
    qkv: Product
    out: Product
    norm_mlp: nn.Module
    gate_up: Product
    activation: Callable[[Tensor], Tensor]
    down: Product


@dataclass(frozen=True)
class Fused:
    """The weights of one model, regrouped; they share memory with the bridge's."""

    embed: nn.Module
    rotary: nn.Module
    layers: tuple[Layer, ...]
    norm: nn.Module
    head: nn.Module
    heads: int
    kv_heads: int
    d_head: int
    clip: float | None


def regroup(hf: Any) -> Fused | None:
    """Regroup the weights of a Hugging Face model, in place; None if it is of another family."""
    config = hf.config
    if config.model_type not in FAMILIES or config.rope_parameters["rope_type"] not in ROTATIONS:
        return None
    body = hf.model
    layers = []
    for block in map(_bare, body.layers):
        attention, mlp = _bare(block.self_attn), _bare(block.mlp)
        layers.append(
            Layer(
                _bare(block.input_layernorm),
                _join(attention.q_proj, attention.k_proj, attention.v_proj),
                _product(_bare(attention.o_proj)),
                _bare(block.post_attention_layernorm),
                _join(mlp.gate_proj, mlp.up_proj),
                mlp.act_fn,
                _product(_bare(mlp.down_proj)),
            )
        )
    return Fused(
        embed=_bare(body.embed_tokens),
        rotary=_bare(body.rotary_emb),
        layers=tuple(layers),
        norm=_bare(body.norm),
        head=_bare(hf.lm_head),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        d_head=attention.head_dim,
        clip=getattr(config, "clip_qkv", None),
    )


@torch.no_grad()
def run(
    fused: Fused,
    layer: int,
    contexts: Int[Tensor, "c seq"],
    row: Int[Tensor, " b"],
    points: Float[Tensor, "b k d"],
    sites: Sequence[str],
) -> dict[str, Float[Tensor, "b k width"]]:
    """Start from the points after `layer`, each behind its row's context; read the sites."""
    prefix = _prefix(fused, contexts[:, :-1])
    rows, k, width = points.shape
    resid = points.reshape(-1, width).clone()
    read: dict[str, Tensor] = {}
    for n, block in list(enumerate(fused.layers))[layer + 1 :]:
        past_keys, past_values = (past[row] for past in prefix[n])
        query, key, value = _project(fused, block, resid)
        mixed = _attend(
            query.unflatten(0, (rows, k)),
            key.unflatten(0, (rows, k)),
            value.unflatten(0, (rows, k)),
            past_keys,
            past_values,
        )
        resid += block.out(mixed)
        gate = _mlp(block, resid)
        if f"gate.{n}" in sites:
            read[f"gate.{n}"] = gate.contiguous()
        del gate  # a view that holds the up-projection too
        if f"resid.{n}" in sites:
            read[f"resid.{n}"] = resid.clone()
    if "pre_norm" in sites:
        read["pre_norm"] = resid
    if "post_norm" in sites or "logits" in sites:
        read["post_norm"] = fused.norm(resid)
    if "logits" in sites:
        read["logits"] = fused.head(read["post_norm"])
    return {site: read[site].unflatten(0, (rows, k)) for site in sites}


def _prefix(fused: Fused, tokens: Int[Tensor, "c p"]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer, `[c, h_kv, p, d_head]`."""
    contexts, length = tokens.shape
    resid = fused.embed(tokens).flatten(0, 1)
    cos, sin = fused.rotary(resid, torch.arange(-length, 0, device=tokens.device)[None])
    pasts: list[tuple[Tensor, Tensor]] = []
    for block in fused.layers:
        query, key, value = (
            part.unflatten(0, (contexts, length)).transpose(1, 2)
            for part in _project(fused, block, resid)
        )
        turned = apply_rotary_pos_emb(query, key, cos, sin)
        query, key = (each.to(value.dtype) for each in turned)  # OLMo's angles are float32
        pasts.append((key, value.contiguous()))  # a copy, to let go of the query
        if len(pasts) == len(fused.layers):
            break
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        resid += block.out(mixed.transpose(1, 2).reshape(contexts * length, -1))
        _mlp(block, resid)
    return pasts


def _project(fused: Fused, block: Layer, resid: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
    """Query, key and value, each `[n, heads, d_head]`, not rotated."""
    qkv = block.qkv(block.norm_attention(resid))
    if fused.clip is not None:
        qkv.clamp_(-fused.clip, fused.clip)
    counts = [fused.heads, fused.kv_heads, fused.kv_heads]
    return qkv.unflatten(-1, (-1, fused.d_head)).split(counts, dim=1)


def _attend(
    query: Float[Tensor, "b k h e"],
    key: Float[Tensor, "b k g e"],
    value: Float[Tensor, "b k g e"],
    past_keys: Float[Tensor, "b g p e"],
    past_values: Float[Tensor, "b g p e"],
) -> Float[Tensor, "b*k h*e"]:
    """What each point takes from the prefix and from itself; query heads share g key heads."""
    rows, k, heads, width = query.shape
    groups, length = past_keys.shape[1:3]
    shared = heads // groups
    query = query.unflatten(2, (groups, shared)).transpose(1, 2).contiguous()
    key, value = key.transpose(1, 2)[:, :, :, None], value.transpose(1, 2)[:, :, :, None]
    # keys before points: softmax along a short last dimension is ten times slower
    scores = query.new_empty(rows, groups, length + 1, k * shared)
    scores[:, :, :length] = past_keys @ query.flatten(2, 3).mT
    scores[:, :, length] = (query * key).sum(-1).flatten(2)
    weights = scores.mul_(width**-0.5).softmax(2)
    mixed = (weights[:, :, :length].mT @ past_values).unflatten(2, (k, shared))
    mixed.addcmul_(weights[:, :, length].unflatten(2, (k, shared))[..., None], value)
    return mixed.transpose(1, 2).reshape(rows * k, -1)


def _mlp(block: Layer, resid: Float[Tensor, "n d"]) -> Float[Tensor, "n d_mlp"]:
    """Add what the MLP writes to `resid`; return its gate's pre-activation."""
    gate, up = block.gate_up(block.norm_mlp(resid)).chunk(2, dim=-1)
    resid += block.down(block.activation(gate).mul_(up))
    return gate


def _bare(module: Any) -> Any:
    """The Hugging Face module inside a bridge's component."""
    return getattr(module, "original_component", module)


def _product(bare: Any) -> Product:
    return Product(bare.weight, bare.bias)


def _join(*products: Any) -> Product:
    """One product in place of several, whose weights become views of its own: no second copy."""
    bare = [_bare(product) for product in products]
    weight = torch.cat([each.weight for each in bare])
    for each, part in zip(bare, weight.split([len(each.weight) for each in bare]), strict=True):
        each.weight.data = part
    return Product(weight, None if bare[0].bias is None else torch.cat([e.bias for e in bare]))
