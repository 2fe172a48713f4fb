"""Patch the residual stream at the last position and read what comes out: F_p of the paper.

Only the last position is ever written, so attention leaves every earlier position as it was. A
sweep therefore runs a prompt's prefix once, keeps its keys and values, and feeds all the points of
a row as so many queries at the last position, each of which sees the prefix and itself alone. That
is exact, and costs one token a point where plain patching costs a prompt a point.

Read sites, each at the last position:

- `pre_norm`: the residual stream after the last layer, the output in the paper's text;
- `post_norm`: the same after the final norm, the output in the authors' code;
- `logits`: next-token logits;
- `resid.N`: the residual stream after layer N;
- `gate.N`: the pre-activation of layer N's gate (hook `blocks.N.mlp.gate.hook_out`), or of its only
  activation where the MLP has no gate (hook `blocks.N.mlp.in.hook_out`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError, first_line
from stable_regions.models import fused
from stable_regions.models.model import Model, check_layer

Points = Callable[[slice], Float[Tensor, "b k d"]]

# Largest relative error allowed between two ways to compute one thing. The largest measured, on
# small random models of twelve families and on SmolLM2-135M: 1e-6, 3e-6, 7e-2. In float64 the code
# of the Hub still takes softmax, rotary angles and some norms in float32; with those in float64
# too, it is 6e-15. In bfloat16 plain patching itself is up to 4e-1 away from float64 on those
# models. A mask or a position that is wrong by one gives 1e-1 or more.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 1e-1}
CHECKED = ("pre_norm", "post_norm", "logits")
ALPHAS = (0.0, 0.25, 0.5, 1.0)
# Of an output as wide as a vocabulary a check keeps what it is along so many random directions:
# relative errors along them are those of the whole to a factor of two.
DIRECTIONS = 32
UNBOUNDED = 2**40  # bytes: the points of a check are few


@dataclass(frozen=True)
class Check:
    """What was measured when a model was checked; all errors are relative to the norm at the site.

    Attributes
    ----------
    own
        By site: largest error when a prompt's own activation is patched back, against a clean run.
    agreement
        By site: largest error of a sweep against plain patching, at points between prompts.
    tolerance
        The largest error allowed, set by the dtype.
    verdict
        "passed", or one line saying what failed.
    trial
        What `check_again` needs: `tokens` of the prompts, and by site what plain patching gave at
        the points between them, along `DIRECTIONS` directions.
    """

    engine: str
    dtype: str
    layer: int
    prompts: int
    points: int
    own: dict[str, float]
    agreement: dict[str, float]
    tolerance: float
    verdict: str
    trial: dict[str, Any]


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
    stop = max((_layer_read(model, site) for site in sites), default=0) + 1
    size = batch_rows(model, k=1, seq=tokens.shape[1], sites=sites, budget=budget)
    from stable_regions.models import hooked as bridge  # importing it takes seconds

    parts = [bridge.clean(model, part, sites, stop) for part in tokens.split(size)]
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
) -> Iterator[tuple[slice, dict[str, Float[Tensor, "b k width"]]]]:
    """Compute F_p (section 2 of the paper) at many points, row by row.

    Row r has the prompt `contexts[context_of[r]]` and K points, each in turn taking the place of
    the residual stream after `layer` at the last position. A batch holds as many rows as
    `batch_rows` says, whatever their number, so neither peak memory nor a row's result depends on
    how many rows come after it.

    Parameters
    ----------
    layer
        The write layer.
    points
        Gives the points of a slice of rows; called for the first row alone to learn K, then once
        for each batch.
    sites
        Read sites; `resid.N` and `gate.N` need N > `layer`.
    budget
        Bytes of working memory beside the weights; see `batch_rows`.

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
    for site in sites:
        if _layer_read(model, site) <= layer:
            raise UserError(f"site {site!r} is not after the write layer {layer}")
    context_of = context_of.to(model.device)
    rows = len(context_of)
    k = points(slice(0, 1)).shape[1]
    size = batch_rows(model, k=k, seq=seq, sites=sites, budget=budget)
    for start in range(0, rows, size):
        part = slice(start, min(start + size, rows))
        used, row = torch.unique(context_of[part], return_inverse=True)
        batch = points(part).to(model.device, model.dtype)
        # without a name: the prefixes are not to lie beside the next batch's
        yield part, behind(model, contexts[used])(layer, row, batch, sites)


def behind(
    model: Model, contexts: Int[Tensor, "c seq"]
) -> Callable[..., dict[str, Float[Tensor, "b k width"]]]:
    """Run prompts up to their last position; give what runs points there, any number of times.

    Of the model's device, unchecked: what `sweep` is made of.

    Returns
    -------
    Called with the write layer, the context of each row `[b]`, the points `[b, k, d]` in the
    model's dtype and the sites, it gives `[b, k, width]` by site.
    """
    if model.fused is not None:
        return partial(fused.run, model.fused, fused.prefixes(model.fused, contexts[:, :-1]))
    from stable_regions.models import hooked as bridge  # importing it takes seconds

    return partial(bridge.run, model, bridge.prefixes(model, contexts[:, :-1]))


def plain(
    model: Model,
    layer: int,
    tokens: Int[Tensor, " seq"],
    points: Float[Tensor, "k d"],
    sites: Sequence[str],
) -> dict[str, Float[Tensor, "k width"]]:
    """Compute F_p the plain way: a full forward pass a point, the last position overwritten.

    The reference that a sweep is held against. All points go through in one batch.
    """
    from stable_regions.models import hooked as bridge  # importing it takes seconds

    check_layer(model, layer)
    prompts = _checked(model, tokens[None]).expand(len(points), -1)
    return bridge.plain(model, layer, prompts, points.to(model.device, model.dtype), sites)


def check(model: Model, tokens: Int[Tensor, "n seq"], layer: int, *, budget: int) -> Check:
    """Hold the engine against clean runs and against plain patching, on a few prompts.

    Parameters
    ----------
    tokens
        Two prompts or more; each is the context once, with points between it and the next.

    Raises
    ------
    UserError
        The model cannot be swept at all.
    """
    if len(tokens) < 2:
        raise UserError(f"a check needs 2 prompts or more, not {len(tokens)}")
    runs = clean(model, tokens, [layer], sites=CHECKED, budget=budget)
    points = _between(runs[f"resid.{layer}"])
    try:
        swept = _swept(model, tokens, layer, points, budget)
    except UserError:
        raise
    except Exception as error:  # whatever the code of the Hub stumbles on
        raise UserError(
            f"model type {model.family!r} cannot run points behind a prefix: {first_line(error)}"
        ) from error
    rows = [
        plain(model, layer, prompt, its, CHECKED)
        for prompt, its in zip(tokens, points, strict=True)
    ]
    plainly = {site: torch.stack([row[site] for row in rows]) for site in CHECKED}
    finite = all(bool(out[site].isfinite().all()) for out in (swept, plainly) for site in CHECKED)
    own = {
        site: max(_error(out[site][:, 0], runs[site]) for out in (swept, plainly))
        for site in CHECKED
    }
    agreement = {site: _error(swept[site], plainly[site]) for site in CHECKED}
    tolerance = TOLERANCE[model.dtype]
    held = {site: _along(plainly[site]).tolist() for site in CHECKED}
    return Check(
        engine=model.engine,
        dtype=str(model.dtype).removeprefix("torch."),
        layer=layer,
        prompts=len(tokens),
        points=points.shape[0] * points.shape[1],
        own=own,
        agreement=agreement,
        tolerance=tolerance,
        verdict=_verdict(finite, own, agreement, tolerance),
        trial={"tokens": tokens.tolist(), "plain": _rounded(held)},
    )


def check_again(model: Model, record: Mapping[str, Any]) -> None:
    """See that a model which was loaded anew is the one that was checked.

    Parameters
    ----------
    record
        The fields of its `Check`.

    Raises
    ------
    UserError
        Its outputs are not those of the check's plain patching.
    """
    layer, trial = record["layer"], record["trial"]
    tokens = torch.tensor(trial["tokens"], device=model.device)
    site = f"resid.{layer}"
    if model.bridge is None and model.fused is not None:
        start = fused.clean(model.fused, tokens, [site])[site]
    else:
        start = clean(model, tokens, [layer], budget=UNBOUNDED)[site]
    swept = _swept(model, tokens, layer, _between(start), UNBOUNDED)
    # of a model that is loaded in another dtype too, the coarser of the two decides
    tolerance = 2 * max(TOLERANCE[model.dtype], TOLERANCE[getattr(torch, record["dtype"])])
    for name, held in trial["plain"].items():
        error = _error(_along(swept[name]), torch.tensor(held, dtype=torch.float64))
        if not error <= tolerance:
            raise UserError(
                f"{model.folder}: is not the model that was checked: {name} differs by {error:.1e},"
                f" more than {tolerance:.0e}; delete the activations of the model to check it again"
            )


def _rounded(tree: Any) -> Any:
    """Numbers to seven digits, more than any tolerance asks for."""
    if isinstance(tree, Mapping):
        return {key: _rounded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_rounded(value) for value in tree]
    return float(f"{tree:.7g}")


def _along(values: Float[Tensor, "*n width"]) -> Float[Tensor, "*n directions"]:
    """What values are along random directions, the same for all that are as wide."""
    generator = torch.Generator().manual_seed(0)
    width = values.shape[-1]
    directions = torch.randn(width, DIRECTIONS, generator=generator, dtype=torch.float64)
    return values.double().cpu() @ directions


def _between(start: Float[Tensor, "n d"]) -> Float[Tensor, "n k d"]:
    """Points between each prompt's activation and the next prompt's."""
    alphas = torch.tensor(ALPHAS, device=start.device, dtype=start.dtype)
    return start[:, None] + alphas[:, None] * (start.roll(-1, 0) - start)[:, None]


def _swept(
    model: Model,
    tokens: Int[Tensor, "n seq"],
    layer: int,
    points: Float[Tensor, "n k d"],
    budget: int,
) -> dict[str, Float[Tensor, "n k width"]]:
    """What a sweep gives at each prompt's points."""
    rows = torch.arange(len(tokens))
    parts = sweep(model, layer, tokens, rows, points.__getitem__, CHECKED, budget=budget)
    outs = [out for _, out in parts]
    return {site: torch.cat([out[site] for out in outs]) for site in CHECKED}


def batch_rows(model: Model, *, k: int, seq: int, sites: Sequence[str], budget: int) -> int:
    """Rows of K points that fit into `budget` bytes of working memory, beside the weights.

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
    numbers += 2 * model.n_layers * seq * kv_heads * d_head
    for site in sites:
        numbers += (
            2 * k * width.get(site, model.d_mlp if site.startswith("gate") else model.d_model)
        )
    row = numbers * model.dtype.itemsize
    if row > budget:
        raise UserError(f"a memory budget of {budget} bytes is less than one row needs: {row}")
    return budget // row


def _layer_read(model: Model, site: str) -> int:
    """The last layer that must run before `site` can be read; `UserError` if it is no site."""
    last = model.n_layers - 1
    if site in {"pre_norm", "post_norm", "logits"}:
        return last
    kind, _, number = site.partition(".")
    if kind not in {"resid", "gate"} or not number.isdecimal():
        raise UserError(
            f"site {site!r} is unknown; one of pre_norm, post_norm, logits, resid.N, gate.N"
        )
    if int(number) > last:
        raise UserError(f"site {site!r}: layer {number} is not in 0..{last}")
    if kind == "gate" and model.gates[int(number)] is None:
        raise UserError(
            f"site {site!r}: the MLP of layer {number} of model type {model.family!r} has no gates "
            "of its own, as a mixture of experts; give a layer with a dense MLP, or another model"
        )
    return int(number)


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


def _error(ours: Float[Tensor, "*k width"], reference: Float[Tensor, "*k width"]) -> float:
    """Largest L2 error of a row, relative to the reference's norm."""
    ours, reference = ours.double(), reference.double()
    return float(((ours - reference).norm(dim=-1) / reference.norm(dim=-1)).max())


def _verdict(
    finite: bool, own: dict[str, float], agreement: dict[str, float], tolerance: float
) -> str:
    if not finite:
        return "an output is not finite"
    for what, errors in (("its own activation patched back", own), ("plain patching", agreement)):
        for site, error in errors.items():
            if not error <= tolerance:
                return f"{site} differs from {what} by {error:.1e}, more than {tolerance:.0e}"
    return "passed"
