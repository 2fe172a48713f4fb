"""Patch the residual stream at the last position and read what comes out: F_p of the paper.

Only the last position is ever written, so attention leaves every earlier position as it was. A
sweep therefore runs a prompt's prefix once, keeps its keys and values, and feeds all the points of
a row as so many queries at the last position, each of which sees the prefix and itself alone. That
is exact, and costs one token a point where plain patching costs a prompt a point.

Read sites, each at the last position:

- `pre_norm`: the residual stream after the last layer, the output in the paper's text;
- `post_norm`: the same after the final norm, the output in the authors' code;
- `logits`: next-token logits;
- `resid.N`: the residual stream after layer N, `resid.-1` being the embedding: the stream that the
  first block reads;
- `gate.N`: the pre-activation of layer N's gate (hook `blocks.N.mlp.gate.hook_out`), or of its only
  activation where the MLP has no gate (hook `blocks.N.mlp.in.hook_out`);
- `attn_out.N`, `mlp_out.N`: what the attention and the MLP of layer N add to the residual stream
  (hooks `blocks.N.hook_attn_out` and `blocks.N.hook_mlp_out`): after a norm of their own, as in
  Gemma 2, and all experts of a mixture together.

The last two can be *frozen*: what is given takes the place of what the module gives for each point
of a row, so the module no longer responds to where the point lies. The stream that it reads, and
all that comes before the last position, stay as they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.models.model import ADDED, Model, check_layer, layer_read

Points = Callable[[slice], Float[Tensor, "b k d"]]

# On a processor a batch is no larger than this, unless it would have too few points for its
# products to be fast. A larger one takes tensors that the system clears for it anew: of
# SmolLM2-135M's points each costs 8 % more in batches of 512 MB.
BATCH_BYTES = 64 * 2**20
BATCH_POINTS = 1000


def clean(
    model: Model,
    tokens: Int[Tensor, "n seq"],
    layers: Sequence[int],
    *,
    sites: Sequence[str] = (),
    budget: int,
) -> dict[str, Tensor]:
    """Run prompts unpatched; return what the last position holds, by site.

    Parameters
    ----------
    layers
        Layers whose residual stream is wanted, returned under `resid.N`.
    budget
        Bytes of working memory beside the weights and the result.

    Returns
    -------
    dict
        `[n, width]` by site, in the model's dtype and on its device.
    """
    sites = tuple(dict.fromkeys([*(f"resid.{layer}" for layer in layers), *sites]))
    tokens = _checked(model, tokens)
    for site in sites:
        _last_layer(model, site)
    size = batch_rows(model, k=1, seq=tokens.shape[1], sites=sites, budget=budget)
    parts = [model.runner.clean(part, sites) for part in tokens.split(size)]
    return {site: torch.cat([part[site] for part in parts]) for site in sites}


def sweep(
    model: Model,
    layer: int,
    contexts: Int[Tensor, "c seq"],
    context_of: Int[Tensor, " rows"],
    points: Points,
    sites: Sequence[str],
    *,
    budget: int,
    frozen: Mapping[str, Float[Tensor, "rows d"]] | None = None,
) -> Iterator[tuple[slice, dict[str, Float[Tensor, "b k width"]]]]:
    """Compute F_p (section 2 of the paper) at many points, row by row.

    Row r has the prompt `contexts[context_of[r]]` and K points, each in turn taking the place of
    the residual stream after `layer` at the last position. A batch holds as many rows as
    `batch_rows` says, whatever their number, so neither peak memory nor a row's result depends on
    how many rows come after it.

    Parameters
    ----------
    layer
        The write layer; -1 is the embedding.
    points
        Gives the points of a slice of rows; called for the first row alone to learn K, then once
        for each batch.
    sites
        Read sites; `resid.N`, `gate.N`, `attn_out.N` and `mlp_out.N` need N > `layer`.
    budget
        Bytes of working memory beside the weights; see `batch_rows`.
    frozen
        By site, `attn_out.N` or `mlp_out.N` with N > `layer`: what takes its place, row by row.

    Yields
    ------
    tuple
        The slice of rows, and `[b, k, width]` by site in the model's dtype and on its device.

    Raises
    ------
    UserError
        A site, the write layer, a prompt or the budget cannot be used.
    """
    check_layer(model, layer)
    contexts = _checked(model, contexts)
    seq = contexts.shape[1]
    if seq < 2:
        raise UserError("prompts of 1 token have no prefix to patch behind; give 2 tokens or more")
    frozen = frozen or {}
    for site in (*sites, *frozen):
        if _last_layer(model, site) <= layer:
            raise UserError(f"site {site!r} is not after the write layer {layer}")
    _check_frozen(frozen)
    context_of = context_of.to(model.device)
    rows = len(context_of)
    k = points(slice(0, 1)).shape[1]
    size = batch_rows(model, k=k, seq=seq, sites=sites, budget=budget)
    run, known = None, context_of[:0]
    for start in range(0, rows, size):
        part = slice(start, min(start + size, rows))
        used, row = torch.unique(context_of[part], return_inverse=True)
        if run is None or not torch.equal(used, known):
            run = None  # the prefixes are not to lie beside the next batch's
            run, known = after_prefix(model, contexts[used]), used
        batch = points(part).to(model.device, model.dtype)
        held = {site: value[part].to(batch) for site, value in frozen.items()}
        yield part, run(layer, row, batch, sites, held)


def after_prefix(
    model: Model, contexts: Int[Tensor, "c seq"]
) -> Callable[..., dict[str, Float[Tensor, "b k width"]]]:
    """Run prompts up to their last position; give what runs points there, any number of times.

    Of the model's device, unchecked: what `sweep` is made of.

    Returns
    -------
    Called with the write layer, the context of each row `[b]`, the points `[b, k, d]` in the
    model's dtype, the sites and what is frozen `[b, d]` by site, it gives `[b, k, width]` by site.
    """
    return partial(model.runner.run, model.runner.prefixes(contexts))


def full_forward(
    model: Model,
    layer: int,
    tokens: Int[Tensor, " seq"],
    points: Float[Tensor, "k d"],
    sites: Sequence[str],
    frozen: Mapping[str, Float[Tensor, " d"]] | None = None,
) -> dict[str, Float[Tensor, "k width"]]:
    """Compute F_p the plain way: a full forward pass a point, the last position overwritten.

    The reference for a sweep. All points go through in one batch.
    """
    check_layer(model, layer)
    prompts = _checked(model, tokens[None]).expand(len(points), -1)
    points = points.to(model.device, model.dtype)
    held = {
        site: value.to(points).expand(len(points), -1) for site, value in (frozen or {}).items()
    }
    return model.hooked.full_forward(layer, prompts, points, sites, frozen=held)


def sweep_at(
    model: Model,
    layer: int,
    tokens: Int[Tensor, " seq"],
    position: int,
    points: Float[Tensor, "k d"],
    sites: Sequence[str],
    *,
    budget: int,
) -> dict[str, Float[Tensor, "k width"]]:
    """Compute F_p with any position of the prompt written, and the last one read.

    The positions after the written one see it, so their activations change with each point: what
    all points share is the prefix before the written position, and what comes after it is run anew
    for each. That costs as many tokens a point as the prompt has from there on.

    Parameters
    ----------
    position
        The one that is written, counted from 0.
    points
        Each in turn takes the place of the residual stream after `layer` at that position.
    budget
        Bytes of working memory beside the weights and the result.

    Returns
    -------
    dict
        `[k, width]` by site, at the prompt's last position.
    """
    check_layer(model, layer)
    [prompt] = _checked(model, tokens[None])
    points = points.to(model.device, model.dtype)
    hooks, run = model.hooked, None
    if position:
        past = hooks.prefixes(prompt[None, : position + 1])
        run = partial(hooks.run_rest, past, layer, prompt[position:])

    def outputs(part: Tensor) -> dict[str, Tensor]:
        if run is None:  # nothing comes before the first position
            return hooks.full_forward(layer, prompt.expand(len(part), -1), part, sites, 0)
        return run(part, sites)

    # each point has a copy of the prefix's keys and values
    copied = replace(model, decodes=True)
    size = batch_rows(copied, k=1, seq=len(prompt), sites=sites, budget=budget)
    outs = [outputs(part) for part in points.split(size)]
    return {site: torch.cat([out[site] for out in outs]) for site in sites}


def batch_rows(model: Model, *, k: int, seq: int, sites: Sequence[str], budget: int) -> int:
    """Rows of K points in one batch: as many as fit, and on a processor as many as are fast."""
    rows, row = rows_that_fit(model, k=k, seq=seq, sites=sites, budget=budget)
    if model.device.type != "cpu":
        return rows
    return min(rows, max(BATCH_BYTES // row, BATCH_POINTS // k, 1))


def rows_that_fit(
    model: Model, *, k: int, seq: int, sites: Sequence[str], budget: int
) -> tuple[int, int]:
    """Rows of K points that fit into `budget` bytes beside the weights, and the bytes of one.

    Numbers held at once for a row, with T = max(K, seq) tokens and T + seq keys:

    - 4 T d for the residual stream and its copies;
    - the larger of 4 T d_mlp in the MLP, and in attention 4 T (h + 2 h_kv) d_head for queries, keys
      and values, 2 (T + seq) h d_head for the repeated keys and values, 3 T (T + seq) h for scores;
    - 2 seq h_kv d_head for each layer of the prefix's keys and values;
    - 2 K times the width of each site: a caller may still hold the batch before.

    It depends on nothing else: the number of rows does not come in.
    """
    heads, kv_heads, d_head = model.n_heads, model.n_kv_heads, model.d_head
    width = {"logits": model.vocab_size}
    tokens, keys = max(k, seq), max(k, seq) + seq
    attention = 4 * tokens * (heads + 2 * kv_heads) * d_head
    attention += 2 * keys * heads * d_head + 3 * tokens * keys * heads
    numbers = 4 * tokens * model.d_model + max(4 * tokens * model.d_mlp, attention)
    # the prefix's, for each point where sweeps decode
    copies = 1 + k if model.decodes else 1
    numbers += copies * 2 * model.n_layers * seq * kv_heads * d_head
    for site in sites:
        numbers += (
            2 * k * width.get(site, model.d_mlp if site.startswith("gate") else model.d_model)
        )
    row = numbers * model.dtype.itemsize
    if row > budget:
        least = -(-row // 2**20)
        raise UserError(
            f"{k} points at once need {least} MB beside the weights: set memory_budget_mb to "
            f"{least} or more"
        )
    return budget // row, row


def _checked(model: Model, tokens: Int[Tensor, "n seq"]) -> Int[Tensor, "n seq"]:
    seq = tokens.shape[1]
    if model.window is not None and seq > model.window:
        raise UserError(f"prompts of {seq} tokens exceed the sliding window of {model.window}")
    if seq > model.max_tokens:
        raise UserError(f"prompts of {seq} tokens exceed the model's {model.max_tokens} positions")
    if not len(tokens):
        raise UserError("there are no prompts")
    low, high = (int(end) for end in tokens.aminmax())
    if not 0 <= low <= high < model.vocab_size:
        raise UserError(f"token ids {low}..{high} are not in 0..{model.vocab_size - 1}")
    return tokens.to(model.device)


def _last_layer(model: Model, site: str) -> int:
    """The last layer that must run before `site` can be read; `UserError` if it cannot be."""
    layer = layer_read(site, model.n_layers - 1)
    if site.startswith("gate") and model.gates[layer] is None:
        raise UserError(
            f"site {site!r}: the MLP of layer {layer} of model type {model.family!r} has no gates "
            "of its own, as a mixture of experts; give a layer with a dense MLP, or another model"
        )
    if site.startswith(ADDED) and not model.adds_up:
        raise UserError(
            f"site {site!r}: on the engine {model.engine!r}, what a layer of model type "
            f"{model.family!r} adds to the residual stream is not known to be the outputs of its "
            "attention and of its MLP; give another model"
        )
    return layer


def _check_frozen(frozen: Mapping[str, Tensor]) -> None:
    for site in frozen:
        if not site.startswith(ADDED):
            raise UserError(f"site {site!r} cannot be frozen; attn_out.N and mlp_out.N can")
