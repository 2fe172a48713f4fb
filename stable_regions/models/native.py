"""A model as transformers has it, under no other library: for what the two engines cannot run.

Its sweeps *decode*: the prefix is run once, its cache or recurrent state is spread over a batch of
points, and the prompt's own last token is fed to all of them, the residual stream overwritten after
the write layer. That is generation with a batch: exact for whatever transformers can generate with,
at one token a point. Importing this takes seconds.
"""

import copy
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stable_regions.measures.conventions import EMBEDDING
from stable_regions.models.huggingface import final_norm, layers_of
from stable_regions.models.model import Gate, layer_read

ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")
MIXTURE = re.compile("expert|router|moe", re.IGNORECASE)
# What a model's output calls the cache that its next pass is given.
CACHES = ("past_key_values", "cache_params", "state")
# Code of transformers that gives wrong numbers for what a sweep asks of it.
WRONG = {"rwkv": "its code in transformers mixes up the rows of a batch that goes on from a state"}


@dataclass(frozen=True)
class Prefixes:
    """What stands before the last position: its cache, what that is called, and its length.

    And the prompts' last tokens.
    """

    name: str
    cache: Any
    length: int
    last: Int[Tensor, " c"]


@dataclass(frozen=True)
class Native:
    """A model of transformers, read and written by hooks on its own modules.

    Attributes
    ----------
    gates
        By layer: the activation function whose input is the MLP's gate; None where there is none,
        or more than one, or a mixture of experts.
    """

    hf: Any
    layers: nn.ModuleList
    norm: nn.Module
    gates: tuple[Gate | None, ...]

    @torch.no_grad()
    def prefixes(self, tokens: Int[Tensor, "c seq"]) -> Prefixes:
        """Run what stands before the last position of each prompt."""
        out = self.hf(input_ids=tokens[:, :-1], use_cache=True)
        for name in CACHES:
            if (cache := getattr(out, name, None)) is not None:
                return Prefixes(name, cache, tokens.shape[1] - 1, tokens[:, -1])
        raise TypeError("it keeps no cache to go on from")

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
        """Feed each row's last token once a point, the stream overwritten; read the sites."""
        assert not frozen  # it does not know a layer's attention from its MLP: `Model.adds_up`
        k = points.shape[1]
        of_point = row.repeat_interleave(k)
        cache_arguments = {pasts.name: _spread(pasts.cache, of_point)}
        if "position_ids" in inspect.signature(self.hf.forward).parameters:
            # as `generate` says it: some code counts from nothing at each pass
            cache_arguments["position_ids"] = torch.full_like(of_point, pasts.length)[:, None]
        with self._hooked(layer, points.flatten(0, 1), sites) as out:
            result = self.hf(
                input_ids=pasts.last[of_point][:, None],
                use_cache=True,
                logits_to_keep=1,
                **cache_arguments,
            )
        if "logits" in sites:
            out["logits"] = result.logits[:, -1]
        return {site: out[site].unflatten(0, (-1, k)) for site in sites}

    @torch.no_grad()
    def clean(
        self, tokens: Int[Tensor, "b seq"], sites: Sequence[str]
    ) -> dict[str, Float[Tensor, "b width"]]:
        """Run prompts unpatched; read the sites at their ends."""
        return self._whole(None, None, tokens, sites, -1)

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
        assert not frozen
        return self._whole(layer, points, tokens, sites, position)

    @torch.no_grad()
    def run_rest(
        self,
        past: Prefixes,
        layer: int,
        rest: Int[Tensor, " rest"],
        points: Float[Tensor, "k d"],
        sites: Sequence[str],
    ) -> dict[str, Float[Tensor, "k width"]]:
        """Feed the rest of one prompt token by token once for each point, the first overwritten."""
        cache = _spread(past.cache, torch.zeros(len(points), dtype=torch.long))
        for place, token in enumerate(rest):
            ids = token.expand(len(points), 1)
            with self._hooked(None if place else layer, points, sites) as out:
                result = self.hf(
                    input_ids=ids, use_cache=True, logits_to_keep=1, **{past.name: cache}
                )
            cache = getattr(result, past.name)
        if "logits" in sites:
            out["logits"] = result.logits[:, -1]
        return out

    def _whole(
        self,
        layer: int | None,
        points: Tensor | None,
        tokens: Tensor,
        sites: Sequence[str],
        position: int,
    ) -> dict[str, Tensor]:
        with self._hooked(layer, points, sites, position) as out:
            result = self.hf(input_ids=tokens, use_cache=False, logits_to_keep=1)
        if "logits" in sites:
            out["logits"] = result.logits[:, -1]
        return out

    @contextmanager
    def _hooked(
        self,
        layer: int | None,
        points: Float[Tensor, "n d"] | None,
        sites: Sequence[str],
        position: int = -1,
    ) -> Iterator[dict[str, Tensor]]:
        """Overwrite a position after a layer, and read the sites at the last, while this lasts."""
        out: dict[str, Tensor] = {}
        handles = []
        first = self.layers[0]
        if layer == EMBEDDING:
            handles.append(
                first.register_forward_pre_hook(
                    lambda _, args, kwargs: _with_input(args, kwargs, points, position),
                    with_kwargs=True,
                )
            )
        elif layer is not None:
            handles.append(
                self.layers[layer].register_forward_hook(
                    lambda _, __, output: _with_output(output, points, position)
                )
            )
        for site in sites:
            if site == "logits":
                continue
            if site == f"resid.{EMBEDDING}":
                handles.append(
                    first.register_forward_pre_hook(
                        lambda _, args, kwargs, site=site: _keep(out, site, _input(args, kwargs)),
                        with_kwargs=True,
                    )
                )
            elif site.startswith("gate"):
                gate = self.gates[int(site.partition(".")[2])]
                assert gate is not None  # `sweep` has looked
                handles.append(
                    self.hf.get_submodule(gate.hook).register_forward_pre_hook(
                        lambda _, given, site=site: _keep(out, site, given[0])
                    )
                )
            else:
                module = self.norm if site == "post_norm" else self._layer(site)
                handles.append(
                    module.register_forward_hook(
                        lambda _, __, output, site=site: _keep(out, site, _stream(output))
                    )
                )
        try:
            yield out
        finally:
            for handle in handles:
                handle.remove()

    def _layer(self, site: str) -> nn.Module:
        return self.layers[layer_read(site, len(self.layers) - 1)]


def _input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The residual stream that a layer is given."""
    return args[0] if args else kwargs["hidden_states"]


def _stream(output: Any) -> Tensor:
    """The residual stream in what a layer hands on."""
    return output[0] if isinstance(output, tuple) else output


def _with_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], points: Any, position: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a layer is given, with a position of the stream overwritten."""
    hidden = _input(args, kwargs).clone()
    hidden[:, position] = points
    return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})


def _with_output(output: Any, points: Any, position: int) -> Any:
    """What a layer hands on, with a position of the stream overwritten."""
    hidden = _stream(output).clone()
    hidden[:, position] = points
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _keep(out: dict[str, Tensor], site: str, value: Tensor) -> None:
    """Note what a site holds at the last position."""
    out[site] = value[:, -1].clone()


def native(hf: Any) -> Native:
    """What runs a model of transformers as it is.

    Raises
    ------
    TypeError
        Its code is known to be wrong, it has no list of layers or no final norm, or something
        stands between the two: then what the last layer gives is not the residual stream that is
        read.
    """
    if (reason := WRONG.get(hf.config.model_type)) is not None:
        raise TypeError(reason)
    layers, norm = layers_of(hf), final_norm(hf)
    if layers is None:
        raise TypeError("it has no list of layers")
    if norm is None:
        raise TypeError("it has no final norm")
    if not _reads(hf, layers[-1], norm):
        raise TypeError("its final norm does not read what its last layer gives")
    return Native(hf, layers, norm, _gates(hf, layers))


def _spread(cache: Any, rows: Int[Tensor, " n"]) -> Any:
    """A copy of a cache with one entry for each of these rows."""
    cache = copy.deepcopy(cache)
    if isinstance(cache, list | tuple):
        return [_spread(each, rows) for each in cache]
    if isinstance(cache, Tensor):
        return cache[rows.to(cache.device)]
    cache.reorder_cache(rows)
    return cache


@torch.no_grad()
def _reads(hf: Any, layer: nn.Module, norm: nn.Module) -> bool:
    """Whether a norm is given just what a layer gives."""
    seen: dict[str, Any] = {}
    handles = [
        layer.register_forward_hook(lambda _, __, out: seen.update(given=out)),
        norm.register_forward_pre_hook(lambda _, given: seen.update(read=given[0])),
    ]
    tokens = torch.zeros(2, 3, dtype=torch.long, device=next(hf.parameters()).device)
    hf(input_ids=tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    given = seen["given"][0] if isinstance(seen["given"], tuple) else seen["given"]
    return given.shape == seen["read"].shape and torch.equal(given, seen["read"].to(given.device))


@torch.no_grad()
def _gates(hf: Any, layers: nn.ModuleList) -> tuple[Gate | None, ...]:
    """By layer, the one activation function that sees one number for each position and channel."""
    names = {id(module): name for name, module in hf.named_modules()}
    tokens = torch.zeros(2, 3, dtype=torch.long, device=next(hf.parameters()).device)
    gates: list[list[Gate]] = [[] for _ in layers]
    handles = []
    for index, layer in enumerate(layers):
        for module in layer.modules():
            if type(module).__module__ in ACTIVATIONS:

                def note(module: nn.Module, given: Any, index: int = index) -> None:
                    if given[0].shape[:-1] == tokens.shape:
                        gates[index].append(Gate(names[id(module)], given[0].shape[-1]))

                handles.append(module.register_forward_pre_hook(note))
    hf(input_ids=tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return tuple(
        seen[0] if len(seen) == 1 and not _mixes(layer) else None
        for seen, layer in zip(gates, layers, strict=True)
    )


def _mixes(layer: nn.Module) -> bool:
    """Whether a layer holds experts: what all tokens share is then a part of its MLP alone."""
    return any(MIXTURE.search(name) for name, _ in layer.named_modules())
