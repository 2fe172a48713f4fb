"""Models behind TransformerLens hooks: clean runs, plain patching, and sweeps of any architecture.

What the fused engine does not do; importing it takes seconds, so `engine` does when it has to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.model_bridge.sources.transformers import determine_architecture_from_hf_config
from transformers import DynamicCache, PretrainedConfig

from stable_regions.base.errors import UserError, first_line
from stable_regions.models import huggingface
from stable_regions.models.fused import regroup
from stable_regions.models.model import Gate, Model, window

# The pre-activation of an MLP, and the projection that reads what becomes of it; the gate first.
PRE_ACTIVATIONS = (
    ("gate", "out"), ("dense_gate", "dense_out"), ("in", "out"), ("dense_in", "dense_out"),
)  # fmt: skip


def wrap(hf: Any, *, folder: Path, engine: str = "auto") -> Model:
    """Put a Hugging Face model behind hooks, and learn what a measurement needs of it."""
    config = hf.config
    weight = next(hf.parameters())
    spread = len(set(getattr(hf, "hf_device_map", {}).values())) > 1
    # before there are hooks: by their own names, and without what the hooks add
    parameters = dict(hf.named_parameters())
    norm = huggingface.norm_kind(hf)
    try:
        architecture = determine_architecture_from_hf_config(config)
        bridge = build_bridge_from_module(hf, architecture, hf_config=config)
        tuple_blocks, gates = _probe(bridge, weight.device)
    except Exception as error:
        raise UserError(f"{folder}: {_unfit(config)}: {first_line(error)}") from error
    cfg: Any = bridge.cfg
    fusible = engine == "auto" and cfg.n_layers > 1 and not spread
    model = Model(
        bridge=bridge,
        folder=folder,
        family=config.model_type,
        dtype=weight.dtype,
        device=weight.device,
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        d_mlp=cfg.d_mlp,
        d_head=cfg.d_head,
        n_heads=cfg.n_heads,
        n_kv_heads=cfg.n_key_value_heads or cfg.n_heads,
        vocab_size=hf.get_output_embeddings().weight.shape[0],
        n_parameters=sum(each.numel() for each in parameters.values()),
        gated=bool(cfg.gated_mlp),
        gates=gates,
        norm=norm or "none",
        window=window(config),
        max_tokens=getattr(config, "max_position_embeddings", None) or cfg.n_ctx,
        tuple_blocks=tuple_blocks,
        fused=regroup(parameters, config) if fusible else None,
    )
    return model if model.fused is None or _fused_agrees(model) else replace(model, fused=None)


@torch.no_grad()
def prefixes(model: Model, tokens: Int[Tensor, "c p"]) -> DynamicCache:
    """Run what stands before the last position of each prompt."""
    cache = DynamicCache()
    bridge_of(model)(tokens, past_key_values=cache, return_type=None, logits_to_keep=1)
    return cache


@torch.no_grad()
def run(
    model: Model,
    pasts: DynamicCache,
    layer: int,
    row: Int[Tensor, " b"],
    points: Float[Tensor, "b k d"],
    sites: Sequence[str],
) -> dict[str, Float[Tensor, "b k width"]]:
    """Start from the points after `layer`, each behind its row's prefix; read the sites."""
    bridge = bridge_of(model)
    k, length = points.shape[1], pasts.get_seq_length()
    hidden = torch.finfo(model.dtype).min
    itself = torch.full((k, k), hidden, device=model.device, dtype=model.dtype).fill_diagonal_(0)
    mask = torch.cat([itself.new_zeros(k, length), itself], dim=1)[None, None]
    out: dict[str, Tensor] = {}
    with (
        bridge.hooks(fwd_hooks=_readers(model, sites, out, last=False)),
        _skipped(model, layer),
    ):
        logits = bridge(
            points,
            start_at_layer=layer + 1,
            past_key_values=_Prefix(pasts, row),
            attention_mask=mask,
            position_ids=torch.full(points.shape[:2], length, device=model.device),
            logits_to_keep=0 if "logits" in sites else 1,
        )
    if "logits" in sites:
        out["logits"] = logits
    return out


@torch.no_grad()
def clean(
    model: Model, tokens: Int[Tensor, "b seq"], sites: Sequence[str], stop: int
) -> dict[str, Float[Tensor, "b width"]]:
    """Run prompts unpatched as far as the layer before `stop`; read the sites at their ends."""
    bridge = bridge_of(model)
    out: dict[str, Tensor] = {}
    with bridge.hooks(fwd_hooks=_readers(model, sites, out, last=True)):
        if stop < model.n_layers:
            bridge(tokens, stop_at_layer=stop)
        else:
            logits = bridge(tokens, logits_to_keep=1)
            if "logits" in sites:
                out["logits"] = logits[:, -1]
    return out


@torch.no_grad()
def plain(
    model: Model,
    layer: int,
    tokens: Int[Tensor, "k seq"],
    points: Float[Tensor, "k d"],
    sites: Sequence[str],
) -> dict[str, Float[Tensor, "k width"]]:
    """Run each prompt whole, its last position overwritten after `layer`; read the sites there."""
    bridge = bridge_of(model)

    def write(resid: Float[Tensor, "k seq d"], hook: Any) -> Tensor:
        resid = resid.clone()
        resid[:, -1] = points
        return resid

    out: dict[str, Tensor] = {}
    hooks = [(_hook(model, f"resid.{layer}"), write), *_readers(model, sites, out, last=True)]
    with bridge.hooks(fwd_hooks=hooks):
        logits = bridge(tokens, logits_to_keep=1)
    if "logits" in sites:
        out["logits"] = logits[:, -1]
    return out


def bridge_of(model: Model) -> TransformerBridge:
    """The hooks of a model; an error of the caller's if it was loaded for sweeps alone."""
    if model.bridge is None:
        raise ValueError(f"{model.folder}: loaded for fused sweeps alone, without hooks")
    return model.bridge


def _unfit(config: PretrainedConfig) -> str:
    return f"model type {config.model_type!r} cannot be hooked by TransformerLens"


@torch.no_grad()
def _probe(bridge: TransformerBridge, device: torch.device) -> tuple[bool, tuple[Gate | None, ...]]:
    """Run a few tokens; return whether a block hands on a tuple, and the gates of each layer.

    A gate's site is known by what it holds: one number for each that the down-projection reads, at
    each position. A mixture's router, which goes by the name of a gate too, holds others.
    """
    if not all("attn" in block.submodules for block in bridge.blocks):
        raise TypeError("it has layers without attention")
    if not hasattr(bridge, "ln_final"):
        raise TypeError("it has no final norm")
    shapes: dict[str, tuple[int, ...]] = {}

    def note(value: Any, hook: Any) -> None:
        shapes[hook.name] = tuple(getattr(value, "shape", ()))

    pairs = [
        (layer, f"blocks.{layer}.mlp.{before}.hook_out", f"blocks.{layer}.mlp.{after}.hook_in")
        for layer in range(len(bridge.blocks))
        for before, after in PRE_ACTIVATIONS
    ]
    read = {name for _, *names in pairs for name in names} & set(bridge.hook_dict)
    handed: list[type] = []
    handle = bridge.blocks[0].register_forward_hook(lambda _, __, out: handed.append(type(out)))
    tokens = torch.zeros(2, 3, dtype=torch.long, device=device)
    with bridge.hooks(fwd_hooks=[(name, note) for name in sorted(read)]):
        bridge(tokens, return_type=None)
    handle.remove()
    gates: list[Gate | None] = [None] * len(bridge.blocks)
    for layer, before, after in reversed(pairs):  # so the first pair that fits is the last put
        shape = shapes.get(before)
        if shape and shape == shapes.get(after) and shape[:-1] == tokens.shape:
            gates[layer] = Gate(before, shape[-1])
    return issubclass(handed[0], tuple), tuple(gates)


def _fused_agrees(model: Model) -> bool:
    """Try the fused engine against plain patching on two random prompts."""
    from stable_regions.models.sweep import (
        check,  # it needs this module: a circle at import otherwise
    )

    seq = min(8, model.max_tokens, model.window or 8)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, model.vocab_size, (2, seq), generator=generator)
    return check(model, prompts, 0, budget=2**40).verdict == "passed"


class _Prefix(DynamicCache):
    """The prefix's keys and values for each row; what a pass adds to them is not kept."""

    def __init__(self, prefix: DynamicCache, row: Int[Tensor, " b"]) -> None:
        super().__init__()
        self.past: list[Any] = prefix.layers
        self.row = row

    def update(  # type: ignore[override]
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        past = self.past[layer]
        row = self.row.to(keys.device)  # layers may lie on several devices
        return (
            torch.cat([past.keys[row], keys], dim=2),
            torch.cat([past.values[row], values], dim=2),
        )


@contextmanager
def _skipped(model: Model, layer: int) -> Iterator[None]:
    """Let blocks 0..layer hand on their input: the block after them starts from the points."""

    def hand_on(hidden: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden, None) if model.tuple_blocks else hidden

    blocks = bridge_of(model).blocks[: layer + 1]
    for block in blocks:
        block.__dict__["forward"] = hand_on
    try:
        yield
    finally:
        for block in blocks:
            del block.__dict__["forward"]


def _readers(
    model: Model, sites: Sequence[str], out: dict[str, Tensor], *, last: bool
) -> list[tuple[str, Callable]]:
    """Hooks that put into `out` what each site but the logits holds: all positions, or the last."""

    def reader(site: str) -> Callable:
        def read(value: Tensor, hook: Any) -> None:
            # a clone of the last position lets go of the others
            out[site] = value[:, -1].clone() if last else value

        return read

    return [(_hook(model, site), reader(site)) for site in sites if site != "logits"]


def _hook(model: Model, site: str) -> str:
    """Name of the TransformerLens hook that a read site stands for."""
    if site == "pre_norm":
        return f"blocks.{model.n_layers - 1}.hook_out"
    if site == "post_norm":
        return "ln_final.hook_out"
    kind, layer = site.split(".")
    if kind == "resid":
        return f"blocks.{layer}.hook_out"
    gate = model.gates[int(layer)]
    assert gate is not None  # `engine` has looked
    return gate.hook
