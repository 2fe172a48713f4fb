"""A model behind TransformerLens hooks: clean runs, plain patching, sweeps of any architecture.

Importing it takes seconds.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.factories.architecture_adapter_factory import (
    SUPPORTED_ARCHITECTURES,
    ArchitectureAdapterFactory,
)
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.model_bridge.sources.transformers import determine_architecture_from_hf_config
from transformers import DynamicCache

from stable_regions.measures.conventions import EMBEDDING
from stable_regions.models.model import ADDED, Gate, layer_read

# The pre-activation of an MLP, and the projection that reads what becomes of it; the gate first.
PRE_ACTIVATIONS = (
    ("gate", "out"), ("dense_gate", "dense_out"), ("in", "out"), ("dense_in", "dense_out"),
)  # fmt: skip


@dataclass(frozen=True)
class Hooked:
    """A model behind hooks.

    Attributes
    ----------
    gates
        By layer: where the pre-activations of its MLP are read; None where it has none of its own.
    tuple_blocks
        Whether its blocks hand on a tuple in place of the bare residual stream.
    most_keys
        Keys that a pass can hold where the attention has a mask of its own beside the one that it
        is given; None where it has not.
    adds_up
        Whether all that its layers add to the residual stream is what the hooks of ADDED hold.
    """

    bridge: TransformerBridge
    gates: tuple[Gate | None, ...]
    tuple_blocks: bool
    most_keys: int | None
    adds_up: bool

    @torch.no_grad()
    def prefixes(self, tokens: Int[Tensor, "c seq"]) -> DynamicCache:
        """Run what stands before the last position of each prompt."""
        cache = DynamicCache()
        self.bridge(tokens[:, :-1], past_key_values=cache, return_type=None, logits_to_keep=1)
        return cache

    @torch.no_grad()
    def run(
        self,
        pasts: DynamicCache,
        layer: int,
        row: Int[Tensor, " b"],
        points: Float[Tensor, "b k d"],
        sites: Sequence[str],
        frozen: Mapping[str, Float[Tensor, "b d"]] | None = None,
    ) -> dict[str, Float[Tensor, "b k width"]]:
        """Start from the points after `layer`, each behind its row's prefix; read the sites."""
        most, frozen = (self.most_keys or 2**40) - pasts.get_seq_length(), frozen or {}
        parts = [
            self._run(pasts, layer, row, part, sites, frozen) for part in points.split(most, dim=1)
        ]
        if len(parts) == 1:
            return parts[0]
        return {site: torch.cat([part[site] for part in parts], dim=1) for site in sites}

    def _run(
        self,
        pasts: DynamicCache,
        layer: int,
        row: Int[Tensor, " b"],
        points: Float[Tensor, "b k d"],
        sites: Sequence[str],
        frozen: Mapping[str, Float[Tensor, "b d"]],
    ) -> dict[str, Float[Tensor, "b k width"]]:
        """The same with as many points as one pass can hold."""
        k, length = points.shape[1], pasts.get_seq_length()
        hidden = torch.finfo(points.dtype).min
        itself = points.new_full((k, k), hidden).fill_diagonal_(0)
        mask = torch.cat([itself.new_zeros(k, length), itself], dim=1)[None, None]
        out: dict[str, Tensor] = {}
        hooks = [*self._writers(frozen, slice(None)), *self._readers(sites, out, last=False)]
        with (
            self.bridge.hooks(fwd_hooks=hooks),
            self._skipped(layer),
        ):
            logits = self.bridge(
                points,
                start_at_layer=layer + 1,
                past_key_values=_Prefix(pasts, row),
                attention_mask=mask,
                position_ids=torch.full(points.shape[:2], length, device=points.device),
                logits_to_keep=0 if "logits" in sites else 1,
            )
        if "logits" in sites:
            out["logits"] = logits
        return out

    @torch.no_grad()
    def clean(
        self, tokens: Int[Tensor, "b seq"], sites: Sequence[str]
    ) -> dict[str, Float[Tensor, "b width"]]:
        """Run prompts unpatched, no further than the sites ask; read the sites at their ends."""
        last = len(self.bridge.blocks) - 1
        stop = 1 + max([0, *(layer_read(site, last) for site in sites)])
        out: dict[str, Tensor] = {}
        with self.bridge.hooks(fwd_hooks=self._readers(sites, out, last=True)):
            if stop < len(self.bridge.blocks):
                self.bridge(tokens, stop_at_layer=stop)
            else:
                logits = self.bridge(tokens, logits_to_keep=1)
                if "logits" in sites:
                    out["logits"] = logits[:, -1]
        return out

    @torch.no_grad()
    def full_forward(
        self,
        layer: int,
        tokens: Int[Tensor, "k seq"],
        points: Float[Tensor, "k d"],
        sites: Sequence[str],
        position: int = -1,
        frozen: Mapping[str, Float[Tensor, "k d"]] | None = None,
    ) -> dict[str, Float[Tensor, "k width"]]:
        """Run prompts whole, a position overwritten after `layer`; read the sites at their ends."""
        return self._patched(layer, tokens, points, sites, position, {}, frozen or {})

    @torch.no_grad()
    def run_rest(
        self,
        past: DynamicCache,
        layer: int,
        rest: Int[Tensor, " rest"],
        points: Float[Tensor, "k d"],
        sites: Sequence[str],
    ) -> dict[str, Float[Tensor, "k width"]]:
        """Run the rest of one prompt once for each point, the first of it overwritten."""
        cache = copy.deepcopy(past)
        cache.batch_repeat_interleave(len(points))
        tokens = rest.expand(len(points), -1)
        return self._patched(layer, tokens, points, sites, 0, {"past_key_values": cache}, {})

    def _patched(
        self,
        layer: int,
        tokens: Int[Tensor, "k seq"],
        points: Float[Tensor, "k d"],
        sites: Sequence[str],
        position: int,
        given: dict[str, Any],
        frozen: Mapping[str, Float[Tensor, "k d"]],
    ) -> dict[str, Float[Tensor, "k width"]]:
        out: dict[str, Tensor] = {}
        hooks = [
            *self._writers({f"resid.{layer}": points}, slice(position, position + 1 or None)),
            *self._writers(frozen, slice(-1, None)),
            *self._readers(sites, out, last=True),
        ]
        with self.bridge.hooks(fwd_hooks=hooks):
            logits = self.bridge(tokens, logits_to_keep=1, **given)
        if "logits" in sites:
            out["logits"] = logits[:, -1]
        return out

    @contextmanager
    def _skipped(self, layer: int) -> Iterator[None]:
        """Let blocks 0..layer hand on their input: the block after them starts from the points."""

        def hand_on(hidden: Tensor, *_: Any, **__: Any) -> Any:
            return (hidden, None) if self.tuple_blocks else hidden

        blocks = self.bridge.blocks[: layer + 1]
        for block in blocks:
            block.__dict__["forward"] = hand_on
        try:
            yield
        finally:
            for block in blocks:
                del block.__dict__["forward"]

    def _readers(
        self, sites: Sequence[str], out: dict[str, Tensor], *, last: bool
    ) -> list[tuple[str, Callable]]:
        """Hooks that put into `out` what each site but the logits holds, or the last of it."""
        return [
            (self._hook(site), lambda value, hook, site=site: _keep(out, site, value, last))
            for site in sites
            if site != "logits"
        ]

    def _writers(
        self, held: Mapping[str, Float[Tensor, "b d"]], positions: slice
    ) -> list[tuple[str, Callable]]:
        """Hooks that overwrite some positions, each row with its own value."""
        return [
            (self._hook(site), lambda value, hook, own=own: _overwritten(value, own, positions))
            for site, own in held.items()
        ]

    def _hook(self, site: str) -> str:
        """Name of the TransformerLens hook that a read site stands for."""
        if site == "pre_norm":
            return f"blocks.{len(self.bridge.blocks) - 1}.hook_out"
        if site == "post_norm":
            return "ln_final.hook_out"
        if site == f"resid.{EMBEDDING}":
            return "blocks.0.hook_in"
        kind, layer = site.split(".")
        if kind == "resid":
            return f"blocks.{layer}.hook_out"
        if kind in ADDED:
            return f"blocks.{layer}.hook_{kind}"
        gate = self.gates[int(layer)]
        assert gate is not None  # `sweep` has looked
        return gate.hook


def _keep(out: dict[str, Tensor], site: str, value: Tensor, last: bool) -> None:
    """Note what a site holds: all of it, or its last position."""
    # a clone of the last position lets go of the others
    out[site] = value[:, -1].clone() if last else value


def _overwritten(
    value: Float[Tensor, "b seq d"], row_values: Float[Tensor, "b d"], positions: slice
) -> Float[Tensor, "b seq d"]:
    """What a site holds, with some positions overwritten."""
    value = value.clone()
    value[:, positions] = row_values[:, None].to(value)
    return value


def hook(hf: Any) -> Hooked:
    """Put a Hugging Face model behind hooks; what goes wrong is TransformerLens' own error."""
    ArchitectureAdapterFactory.discover_entry_points()
    own = ArchitectureAdapterFactory._adapters.keys() - SUPPORTED_ARCHITECTURES.keys()
    architecture = type(hf).__name__
    if architecture not in own:  # what `register_adapter` was given is not looked up by it
        architecture = determine_architecture_from_hf_config(hf.config)
    # the keys that the last of a mask's positions sees
    most = [
        int(buffer[..., -1, :].sum())
        for name, buffer in hf.named_buffers()
        if name.endswith("attention.bias") and buffer.ndim == 4
    ]
    bridge = build_bridge_from_module(hf, architecture, hf_config=hf.config)
    device = next(hf.parameters()).device
    tuple_blocks, gates = _probe(bridge, device)
    return Hooked(bridge, gates, tuple_blocks, min(most, default=None), _adds_up(bridge, device))


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
    hook_names = {name for _, *names in pairs for name in names} & set(bridge.hook_dict)
    handed: list[type] = []
    handle = bridge.blocks[0].register_forward_hook(lambda _, __, out: handed.append(type(out)))
    tokens = torch.zeros(2, 3, dtype=torch.long, device=device)
    with bridge.hooks(fwd_hooks=[(name, note) for name in sorted(hook_names)]):
        bridge(tokens, return_type=None)
    handle.remove()
    gates: list[Gate | None] = [None] * len(bridge.blocks)
    for layer, before, after in reversed(pairs):  # so the first pair that fits is the last put
        shape = shapes.get(before)
        if shape and shape == shapes.get(after) and shape[:-1] == tokens.shape:
            gates[layer] = Gate(before, shape[-1])
    return issubclass(handed[0], tuple), tuple(gates)


@torch.no_grad()
def _adds_up(bridge: TransformerBridge, device: torch.device) -> bool:
    """Overwrite what each layer's attention and MLP give; whether the stream is then their sum.

    It is not where what a module gives is scaled or normalised on its way to the stream, or where
    a layer adds something else.
    """
    generator = torch.Generator().manual_seed(0)
    tokens = torch.zeros(2, 3, dtype=torch.long, device=device)
    names = [f"blocks.{n}.hook_{kind}" for n in range(len(bridge.blocks)) for kind in ADDED]
    ends: dict[str, Tensor] = {}
    total = torch.zeros(bridge.cfg.d_model, dtype=torch.float64)

    def note(value: Tensor, hook: Any) -> None:
        ends[hook.name] = value.double().cpu()

    def write(value: Tensor, hook: Any) -> Tensor:
        given = torch.randn(bridge.cfg.d_model, generator=generator)
        total.add_(given)
        return (
            value if value.shape[:-1] != tokens.shape else given.to(value).expand_as(value).clone()
        )

    hooks = [("blocks.0.hook_in", note), (f"blocks.{len(bridge.blocks) - 1}.hook_out", note)]
    try:
        with bridge.hooks(fwd_hooks=[*hooks, *((name, write) for name in names)]):
            bridge(tokens, return_type=None)
        first, last = ends.values()
        error = (last - first - total).norm(dim=-1) / total.norm()
    except Exception:  # a hook that is not there, or whatever its architecture's code stumbles on
        return False
    return bool((error < 0.05).all())


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
