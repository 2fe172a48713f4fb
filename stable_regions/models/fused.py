"""A sweep's forward pass written out for gated rotary families: Llama, Qwen, OLMo, Gemma, Phi-3.

The same sums as the bridge's in fewer and larger steps: one product for query, key and value, one
for gate and up, residual additions in place, and no mask, since a point's scores are those with
the prefix and the one with itself. Rotary attention knows differences of positions alone, so the
last position is called 0, where the rotation is the identity, and the prefix lies at -P..-1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from stable_regions.models.model import layer_read

if TYPE_CHECKING:  # importing transformers takes longer than a small model's sweeps
    from transformers import PretrainedConfig

QKV, GATE_UP = ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")  # one product each


@dataclass(frozen=True)
class Family:
    """What the families of this pass differ in; what a row of `FAMILIES` leaves out is Llama's.

    Attributes
    ----------
    needs
        What a config.json must hold, beside REQUIRED_KEYS, to leave nothing to defaults.
    norm
        Kind of its norms: "rms", or "layer" without weights.
    one_plus
        Whether a norm multiplies by one plus its weight.
    before, after
        Names of the norms of what goes into attention and into the MLP, and of what comes out.
    head_norms
        Whether queries and keys have norms of their own, as wide as their weights: of each head,
        or of all together.
    scaled
        Whether embeddings are multiplied by the root of their width.
    rotation_of_kind
        Whether each kind of layer has a rotation of its own.
    biased
        Matrices that have biases unasked, beside those of BIASES.
    qkv, gate_up
        The matrices that make queries, keys and values, and gate and up, in this order: each by
        itself, or all in one.
    """

    needs: frozenset[str]
    norm: Literal["rms", "layer"] = "rms"
    one_plus: bool = False
    before: tuple[str, str] | None = ("input_layernorm", "post_attention_layernorm")
    after: tuple[str, str] | None = None
    head_norms: bool = False
    scaled: bool = False
    rotation_of_kind: bool = False
    biased: tuple[str, ...] = ()
    qkv: tuple[str, ...] = QKV
    gate_up: tuple[str, ...] = GATE_UP


# Gemma's norms stand on both sides of attention and MLP; OLMo 2's behind them.
AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
GEMMA: dict[str, Any] = {
    "one_plus": True, "before": ("input_layernorm", "pre_feedforward_layernorm"), "after": AFTER,
    "scaled": True,
}  # fmt: skip
RMS = {"rms_norm_eps", "hidden_act"}
GEMMA_NEEDS = {
    "rms_norm_eps", "hidden_activation", "query_pre_attn_scalar", "head_dim", "sliding_window",
    "layer_types", "final_logit_softcapping",
}  # fmt: skip
# All that is said of a family: the load check tries whether it is true of a model.
FAMILIES = {
    "llama": Family(frozenset(RMS)),
    "mistral": Family(frozenset(RMS | {"sliding_window"})),
    "qwen2": Family(frozenset(RMS | {"sliding_window", "layer_types"}), biased=QKV),
    "qwen3": Family(
        frozenset(RMS | {"head_dim", "sliding_window", "layer_types"}), head_norms=True
    ),
    "olmo": Family(frozenset({"clip_qkv", "hidden_act"}), norm="layer"),
    "olmo2": Family(frozenset(RMS), before=None, after=AFTER, head_norms=True),
    "phi3": Family(
        frozenset(RMS | {"sliding_window"}), qkv=("qkv_proj",), gate_up=("gate_up_proj",)
    ),
    "gemma2": Family(frozenset(GEMMA_NEEDS | {"attn_logit_softcapping"}), **GEMMA),
    "gemma3_text": Family(frozenset(GEMMA_NEEDS), head_norms=True, rotation_of_kind=True, **GEMMA),
}
REQUIRED_KEYS = {
    "hidden_size", "intermediate_size", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rope_parameters",
    "tie_word_embeddings",
}  # fmt: skip
EXPLICIT_NULLS = {  # for others null means the default
    "sliding_window", "clip_qkv", "attn_logit_softcapping", "final_logit_softcapping",
}  # fmt: skip
# Where a config that says so has biases.
BIASES = {
    "attention_bias": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp_bias": ("gate_proj", "up_proj", "down_proj"),
}
# What else the library writes into such a config: nothing that a sweep reads, but the head's width
# and whether later tokens are seen.
IGNORED_KEYS = {
    "_sliding_window_pattern", "architectures", "attention_dropout", "attn_logit_softcapping",
    "bos_token_id", "dtype",
    "embd_pdrop", "eos_token_id", "head_dim", "initializer_range", "max_window_layers",
    "model_type", "original_max_position_embeddings", "pad_token_id", "pretraining_tp",
    "resid_pdrop", "torch_dtype", "transformers_version", "unk_token_id",
    "use_bidirectional_attention", "use_cache", "use_sliding_window", "vocab_size",
}  # fmt: skip
# the others change a rotation's length or its frequencies with the prompt's
ROTATIONS = {"default", "linear", "llama3"}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}
Norm = Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]]
# Keys and values of every layer, `[c, h_kv, p, d_head]`.
Prefixes = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Product:
    """A matrix product, `x @ weight.T + bias`."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None

    def __call__(self, x: Float[Tensor, "n in"]) -> Float[Tensor, "n out"]:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Layer:
    """The weights of one block; norms that a family lacks give back what they are given."""

    norm_attention: Norm
    qkv: Product
    norm_query: Norm
    norm_key: Norm
    out: Product
    norm_mixed: Norm
    norm_mlp: Norm
    gate_up: Product
    activation: Callable[[Tensor], Tensor]
    down: Product
    norm_given: Norm
    rotation: "Rotation"


@dataclass(frozen=True, eq=False)
class Rotation:
    """Radians a position, and what sine and cosine are multiplied by."""

    frequencies: Float[Tensor, " half"]
    scaling: float


@dataclass(frozen=True)
class Fused:
    """The weights of one model, regrouped.

    Attributes
    ----------
    scale
        What a score is multiplied by.
    clip
        Largest size of a query's, key's or value's entry, or None.
    score_cap, logit_cap
        What scores and logits are smoothly kept below, or None.
    embed_scale
        What an embedding is multiplied by.
    n_parameters
        Numbers in its weights, a tied weight counted once.
    """

    embed: Float[Tensor, "v d"]
    layers: tuple[Layer, ...]
    norm: Norm
    head: Product
    heads: int
    kv_heads: int
    d_head: int
    scale: float
    clip: float | None
    score_cap: float | None
    logit_cap: float | None
    embed_scale: float
    n_parameters: int

    @torch.no_grad()
    def run(
        self,
        pasts: Prefixes,
        layer: int,
        row: Int[Tensor, " b"],
        points: Float[Tensor, "b k d"],
        sites: Sequence[str],
        frozen: Mapping[str, Float[Tensor, "b d"]] | None = None,
    ) -> dict[str, Float[Tensor, "b k width"]]:
        """Start from the points after `layer`, each behind its row's prefix; read the sites."""
        rows, k, width = points.shape
        frozen = frozen or {}

        def held(site: str) -> Tensor | None:
            """What stands at a frozen site of each point."""
            return frozen[site].repeat_interleave(k, 0) if site in frozen else None

        resid = points.reshape(-1, width).clone()
        outputs = {f"resid.{layer}": points.reshape(-1, width)}
        for n, block in list(enumerate(self.layers))[layer + 1 :]:
            attention, mlp = f"attn_out.{n}", f"mlp_out.{n}"
            if (added := held(attention)) is None:
                past_keys, past_values = (past[row] for past in pasts[n])
                query, key, value = _project(self, block, resid)
                mixed = _attend(
                    query.unflatten(0, (rows, k)),
                    key.unflatten(0, (rows, k)),
                    value.unflatten(0, (rows, k)),
                    past_keys,
                    past_values,
                    self,
                )
                added = block.norm_mixed(block.out(mixed))
            resid += added
            if attention in sites:
                outputs[attention] = added
            if (added := held(mlp)) is None or f"gate.{n}" in sites:
                given, gate = _mlp(block, resid)
                added = given if added is None else added
                if f"gate.{n}" in sites:
                    outputs[f"gate.{n}"] = gate.contiguous()
                del given, gate  # a view that holds the up-projection too
            resid += added
            if mlp in sites:
                outputs[mlp] = added
            del added
            if f"resid.{n}" in sites:
                outputs[f"resid.{n}"] = resid.clone()
        if "pre_norm" in sites:
            outputs["pre_norm"] = resid
        if "post_norm" in sites or "logits" in sites:
            outputs["post_norm"] = self.norm(resid)
        if "logits" in sites:
            outputs["logits"] = _capped(self.head(outputs["post_norm"]), self.logit_cap)
        return {site: outputs[site].unflatten(0, (rows, k)) for site in sites}

    @torch.no_grad()
    def clean(
        self, tokens: Int[Tensor, "n seq"], sites: Sequence[str]
    ) -> dict[str, Float[Tensor, "n width"]]:
        """Run prompts unpatched, no further than the sites ask; read them at the last positions."""
        deepest = max(layer_read(site, len(self.layers) - 1) for site in sites)
        reached = replace(self, layers=self.layers[: deepest + 1])
        last = self.embedded(tokens[:, -1:])
        rows = torch.arange(len(tokens), device=tokens.device)
        out = reached.run(reached.prefixes(tokens), -1, rows, last, sites)
        return {site: value[:, 0] for site, value in out.items()}

    def embedded(self, tokens: Int[Tensor, "n seq"]) -> Float[Tensor, "n seq d"]:
        """The residual stream before the first block."""
        found = F.embedding(tokens, self.embed)
        # in the weights' own precision, as the hub's code has it
        return found if self.embed_scale == 1 else found * found.new_tensor(self.embed_scale)

    @torch.no_grad()
    def prefixes(self, tokens: Int[Tensor, "c seq"]) -> Prefixes:
        """Run what stands before the last position of each prompt."""
        tokens = tokens[:, :-1]
        contexts, length = tokens.shape
        resid = self.embedded(tokens).flatten(0, 1)
        positions = torch.arange(-length, 0, device=tokens.device)
        turns: dict[Rotation, tuple[Tensor, Tensor]] = {}
        pasts: Prefixes = []
        for block in self.layers:
            if (rotation := block.rotation) not in turns:
                frequencies = rotation.frequencies.float().to(positions.device)
                angles = (positions[:, None].float() * frequencies).repeat(1, 2)
                turns[rotation] = angles.cos() * rotation.scaling, angles.sin() * rotation.scaling
            cos, sin = turns[rotation]
            query, key, value = (
                part.unflatten(0, (contexts, length)).transpose(1, 2)
                for part in _project(self, block, resid)
            )
            query, key = _rotated(query, cos, sin), _rotated(key, cos, sin)
            pasts.append((key, value.contiguous()))  # a copy, to let go of the query
            if len(pasts) == len(self.layers):
                break
            mixed = self._attend_causally(query, key, value)
            mixed = mixed.transpose(1, 2).reshape(contexts * length, self.heads * self.d_head)
            resid += block.norm_mixed(block.out(mixed))
            resid += _mlp(block, resid)[0]
        return pasts

    def _attend_causally(
        self,
        query: Float[Tensor, "c h p e"],
        key: Float[Tensor, "c g p e"],
        value: Float[Tensor, "c g p e"],
    ) -> Float[Tensor, "c h p e"]:
        if self.score_cap is None:
            return F.scaled_dot_product_attention(
                query, key, value, is_causal=True, enable_gqa=True, scale=self.scale
            )
        shared = self.heads // self.kv_heads
        scores = query @ key.repeat_interleave(shared, 1).mT * self.scale
        later = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1)
        scores = _capped(scores, self.score_cap).masked_fill_(later, -torch.inf)
        return scores.softmax(-1) @ value.repeat_interleave(shared, 1)


def is_concatenated(name: str) -> bool:
    """Whether a weight of this name becomes part of a larger one."""
    return name.rpartition(".")[0].endswith((*QKV, *GATE_UP))


def regroup(weights: dict[str, Tensor], config: "PretrainedConfig") -> Fused | None:
    """Regroup the weights of a model; None if it is of another family, or other weights than its.

    Parameters
    ----------
    weights
        By the names that the family's models on the hub have. Those that become part of a larger
        one turn into views of it: there is no second copy.
    """
    family = FAMILIES.get(config.model_type)
    if family is None or getattr(config, "use_bidirectional_attention", False):
        return None

    def said(key: str) -> Any:
        """What a key says that the family's code reads; others may be there."""
        return getattr(config, key, None) if key in family.needs else None

    activation = said("hidden_act") or said("hidden_activation")
    rotations = _rotations(config, of_kind=family.rotation_of_kind)
    if activation not in ACTIVATIONS or rotations is None:
        return None
    asked = (parts for key, parts in BIASES.items() if getattr(config, key, False))
    biased = {*family.biased, *chain.from_iterable(asked)}
    used: dict[str, Tensor] = {}

    def take(name: str) -> Tensor:
        used[name] = weights[name]
        return weights[name]

    def product(*names: str) -> Product:
        bias = [take(f"{name}.bias") for name in names if name.rpartition(".")[2] in biased]
        weight = _concatenated([take(f"{name}.weight") for name in names])
        return Product(weight, _concatenated(bias) if bias else None)

    def norm(name: str) -> Norm:
        if family.norm == "layer":
            return partial(F.layer_norm, normalized_shape=(config.hidden_size,), eps=1e-5)
        weight = take(f"{name}.weight")
        if family.one_plus:  # not rounded to the model's precision
            weight = 1 + weight.to(torch.promote_types(weight.dtype, torch.float32))
            return partial(_promoted_norm, weight=weight, eps=config.rms_norm_eps)
        return partial(
            F.rms_norm, normalized_shape=weight.shape, weight=weight, eps=config.rms_norm_eps
        )

    def norms(layer: str, names: tuple[str, str] | None) -> list[Norm]:
        return [norm(f"{layer}.{name}") for name in names] if names else [_same, _same]

    def layer(n: int) -> Layer:
        name = f"model.layers.{n}"
        attention, mlp = f"{name}.self_attn", f"{name}.mlp"
        norm_attention, norm_mlp = norms(name, family.before)
        norm_mixed, norm_given = norms(name, family.after)
        norm_query = norm_key = _same
        if family.head_norms:
            norm_query, norm_key = (
                partial(_norm_in_parts, norm(each), len(weights[f"{each}.weight"]))
                for each in (f"{attention}.q_norm", f"{attention}.k_norm")
            )
        return Layer(
            norm_attention=norm_attention,
            qkv=product(*(f"{attention}.{each}" for each in family.qkv)),
            norm_query=norm_query,
            norm_key=norm_key,
            out=product(f"{attention}.o_proj"),
            norm_mixed=norm_mixed,
            norm_mlp=norm_mlp,
            gate_up=product(*(f"{mlp}.{each}" for each in family.gate_up)),
            activation=ACTIVATIONS[activation],
            down=product(f"{mlp}.down_proj"),
            norm_given=norm_given,
            rotation=rotations[n],
        )

    head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
    try:
        embed = product("model.embed_tokens").weight
        layers = tuple(map(layer, range(config.num_hidden_layers)))
        last, unembed = norm("model.norm"), product(head)
    except KeyError:
        return None
    return Fused(
        embed=embed,
        layers=layers,
        norm=last,
        head=unembed,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        d_head=_d_head(config),
        scale=(said("query_pre_attn_scalar") or _d_head(config)) ** -0.5,
        clip=said("clip_qkv"),
        score_cap=said("attn_logit_softcapping"),
        logit_cap=said("final_logit_softcapping"),
        embed_scale=config.hidden_size**0.5 if family.scaled else 1.0,
        n_parameters=sum(weight.numel() for weight in used.values()),
    )


def _project(fused: Fused, block: Layer, resid: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
    """Query, key and value, each `[n, heads, d_head]`, not rotated."""
    qkv = block.qkv(block.norm_attention(resid))
    if fused.clip is not None:
        qkv.clamp_(-fused.clip, fused.clip)
    counts = [fused.heads, fused.kv_heads, fused.kv_heads]
    query, key, value = qkv.split([count * fused.d_head for count in counts], dim=-1)
    parts = (block.norm_query(query), block.norm_key(key), value)
    return tuple(part.unflatten(-1, (-1, fused.d_head)) for part in parts)


def _attend(
    query: Float[Tensor, "b k h e"],
    key: Float[Tensor, "b k g e"],
    value: Float[Tensor, "b k g e"],
    past_keys: Float[Tensor, "b g p e"],
    past_values: Float[Tensor, "b g p e"],
    fused: Fused,
) -> Float[Tensor, "b*k h*e"]:
    """What each point takes from the prefix and from itself; query heads share g key heads."""
    rows, k, heads, _ = query.shape
    groups, length = past_keys.shape[1:3]
    shared = heads // groups
    query = query.unflatten(2, (groups, shared)).transpose(1, 2).contiguous()
    key, value = key.transpose(1, 2)[:, :, :, None], value.transpose(1, 2)[:, :, :, None]
    # keys before points: softmax along a short last dimension is ten times slower
    scores = query.new_empty(rows, groups, length + 1, k * shared)
    scores[:, :, :length] = past_keys @ query.flatten(2, 3).mT
    scores[:, :, length] = (query * key).sum(-1).flatten(2)
    weights = _capped(scores.mul_(fused.scale), fused.score_cap).softmax(2)
    mixed = (weights[:, :, :length].mT @ past_values).unflatten(2, (k, shared))
    mixed.addcmul_(weights[:, :, length].unflatten(2, (k, shared))[..., None], value)
    return mixed.transpose(1, 2).reshape(rows * k, -1)


def _mlp(
    block: Layer, resid: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d_mlp"]]:
    """What the MLP adds to `resid`, and its gate's pre-activation."""
    gate, up = block.gate_up(block.norm_mlp(resid)).chunk(2, dim=-1)
    return block.norm_given(block.down(block.activation(gate).mul_(up))), gate


def _same(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return x


def _promoted_norm(
    x: Float[Tensor, "*n d"], weight: Float[Tensor, " d"], eps: float
) -> Float[Tensor, "*n d"]:
    """The norm in the weight's precision, and its result in that of `x`."""
    return F.rms_norm(x.to(weight.dtype), weight.shape, weight, eps).to(x.dtype)


def _norm_in_parts(norm: Norm, width: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """A norm of each stretch of a width."""
    return norm(x.unflatten(-1, (-1, width))).flatten(-2)


def _capped(x: Float[Tensor, "..."], cap: float | None) -> Float[Tensor, "..."]:
    """Values smoothly kept below a cap, in place, if there is one."""
    return x if cap is None else x.div_(cap).tanh_().mul_(cap)


def _rotated(
    x: Float[Tensor, "c h p e"], cos: Float[Tensor, "p e"], sin: Float[Tensor, "p e"]
) -> Float[Tensor, "c h p e"]:
    """Rotary position embedding: entry i is turned against entry i + e/2."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


def _rotations(config: "PretrainedConfig", *, of_kind: bool) -> list[Rotation] | None:
    """The rotation of each layer; None if one of them is not known here.

    All share one, or those of a kind do.
    """
    kinds = config.layer_types if of_kind else [None] * config.num_hidden_layers
    wanted = {*kinds} if of_kind else {"rope_type"}
    if not wanted <= config.rope_parameters.keys():
        return None
    made: dict[str | None, Rotation] = {}
    for kind in dict.fromkeys(kinds):
        parameters = config.rope_parameters if kind is None else config.rope_parameters[kind]
        if (
            parameters["rope_type"] not in ROTATIONS
            or parameters.get("partial_rotary_factor", 1.0) != 1
        ):
            return None
        made[kind] = Rotation(*_frequencies(config, parameters, kind))
    return [made[kind] for kind in kinds]


def _frequencies(
    config: "PretrainedConfig", parameters: Mapping[str, Any], kind: str | None
) -> tuple[Float[Tensor, " half"], float]:
    """Frequencies of a rotation, and what sine and cosine are multiplied by."""
    if parameters["rope_type"] != "default":
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        of_kind = {} if kind is None else {"layer_type": kind}
        return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, **of_kind)
    width = _d_head(config)
    exponent = torch.arange(0, width, 2, dtype=torch.float) / width
    return 1 / parameters["rope_theta"] ** exponent, 1.0


def _d_head(config: "PretrainedConfig") -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _concatenated(parts: list[Tensor]) -> Tensor:
    """One tensor in place of several, which become views of it."""
    if len(parts) == 1:
        return parts[0]
    whole = torch.cat(parts)
    for part, view in zip(parts, whole.split([len(part) for part in parts]), strict=True):
        part.data = view
    return whole
