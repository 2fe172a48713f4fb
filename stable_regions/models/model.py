"""A model as a measurement sees it: its facts, and what runs it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.measures.conventions import EMBEDDING
from stable_regions.models.shapes import check_write_layer

# What a layer's attention and its MLP add to the residual stream: sites that can be frozen.
ADDED = ("attn_out", "mlp_out")
# The embedding is the residual stream "after layer -1".
SITE = re.compile(rf"resid\.{EMBEDDING}|(resid|gate|{'|'.join(ADDED)})\.([0-9]+)")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Gate:
    """Where the pre-activations of a layer's MLP are read: a TransformerLens hook, and how many."""

    hook: str
    width: int


@runtime_checkable
class Runner(Protocol):
    """Runs points behind prefixes: what a sweep is made of."""

    def prefixes(self, tokens: Int[Tensor, "c seq"]) -> Any:
        """Run what stands before the last position of each prompt."""

    def run(
        self,
        pasts: Any,
        layer: int,
        row: Int[Tensor, " b"],
        points: Float[Tensor, "b k d"],
        sites: Sequence[str],
        frozen: Mapping[str, Float[Tensor, "b d"]] | None = None,
    ) -> dict[str, Float[Tensor, "b k width"]]:
        """Start from the points after `layer`, each behind its row's prefix; read the sites.

        What a frozen site holds is not computed: each point of a row gets the row's value.
        """

    def clean(
        self, tokens: Int[Tensor, "n seq"], sites: Sequence[str]
    ) -> dict[str, Float[Tensor, "n width"]]:
        """Run prompts unpatched; read the sites at their last positions."""


@runtime_checkable
class Hooks(Runner, Protocol):
    """A runner that can write and read anywhere, one full forward pass a prompt."""

    def full_forward(
        self,
        layer: int,
        tokens: Int[Tensor, "k seq"],
        points: Float[Tensor, "k d"],
        sites: Sequence[str],
        position: int = -1,
        frozen: Mapping[str, Float[Tensor, "k d"]] | None = None,
    ) -> dict[str, Float[Tensor, "k width"]]:
        """Run each prompt whole, a position overwritten after `layer`; read sites at its end.

        Frozen sites are overwritten at the last position.
        """

    def run_rest(
        self,
        past: Any,
        layer: int,
        rest: Int[Tensor, " rest"],
        points: Float[Tensor, "k d"],
        sites: Sequence[str],
    ) -> dict[str, Float[Tensor, "k width"]]:
        """Run the rest of one prompt behind its prefix once for each point; read the sites.

        The first position of the rest is overwritten after `layer`; the sites are read at its last.
        """


@dataclass(frozen=True)
class Model:
    """A loaded model, and the facts about it that a measurement needs.

    Attributes
    ----------
    family
        `model_type` of its config, such as "llama".
    n_parameters
        Numbers in its weights, a tied weight counted once.
    gated
        Whether its MLPs have a gate beside the up-projection.
    gates
        By layer: its MLP's gate, or its only pre-activation where it has no gate; None where an MLP
        is a mixture of experts.
    norm
        Kind of the final norm: "rms", "layer" or "none".
    window
        Tokens that a sliding-window layer sees, or None if every layer sees all.
    max_tokens
        Longest prompt that it has positions for.
    hooks
        The model behind TransformerLens hooks, or behind its own; None if it was loaded for fused
        sweeps alone.
    fused
        Its weights regrouped for fused sweeps; None if sweeps go through the hooks.
    decodes
        Whether they decode, as in `native`.
    adds_up
        Whether what attention and MLP give is all that a layer adds to the residual stream, so that
        it can be read at `attn_out.N` and `mlp_out.N`, and frozen.
    """

    folder: Path
    family: str
    dtype: torch.dtype
    device: torch.device
    n_layers: int
    d_model: int
    d_mlp: int
    d_head: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    n_parameters: int
    gated: bool
    gates: tuple[Gate | None, ...]
    norm: str
    window: int | None
    max_tokens: int
    hooks: Hooks | None = None
    fused: Runner | None = None
    decodes: bool = False
    adds_up: bool = False

    @property
    def engine(self) -> str:
        """What a sweep runs on: "fused", "bridge" or "decode"."""
        return "fused" if self.fused else "decode" if self.decodes else "bridge"

    @property
    def runner(self) -> Runner:
        """What a sweep runs on."""
        return self.fused or self.hooked

    @property
    def hooked(self) -> Hooks:
        """Its hooks; an error of the caller's if it was loaded for sweeps alone."""
        if self.hooks is None:
            raise ValueError(f"{self.folder}: loaded for fused sweeps alone, without hooks")
        return self.hooks

    @property
    def bridge(self) -> Any:
        """The `TransformerBridge` behind the hooks, where there is one, for hooks of one's own.

        Give it token ids, never text: it prepends no BOS.
        """
        return self.hooked.bridge  # type: ignore[attr-defined]


def check_layer(model: Model, layer: int) -> None:
    """Raise `UserError` unless something comes after the write layer `layer`."""
    check_write_layer(layer, model.n_layers)


def layer_read(site: str, last: int) -> int:
    """The last layer that must run before a read site can be read, of a model whose last is `last`.

    Raises
    ------
    UserError
        It is no site of such a model.
    """
    if site in {"pre_norm", "post_norm", "logits"}:
        return last
    match = SITE.fullmatch(site)
    if match is None:
        names = ", ".join(f"{name}.N" for name in ("resid", "gate", *ADDED))
        raise UserError(f"site {site!r} is unknown; one of pre_norm, post_norm, logits, {names}")
    layer = int(match[2] or EMBEDDING)
    if layer > last:
        raise UserError(f"site {site!r}: layer {layer} is not in 0..{last}")
    return layer
