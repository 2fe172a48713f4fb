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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from stable_regions.errors import UserError, first_line
from stable_regions.fused import run as run_fused
from stable_regions.model import Model, check_layer

Points = Callable[[slice], Float[Tensor, "b k d"]]

# Largest relative error allowed between two ways to compute one thing. The largest measured, on
# small random models of twelve families and on SmolLM2-135M: 1e-6, 3e-6, 7e-2. In float64 the code
# of the Hub still takes softmax, rotary angles and some norms in float32; with those in float64
# too, it is 6e-15. In bfloat16 plain patching itself is up to 4e-1 away from float64 on those
# models. A mask or a position that is wrong by one gives 1e-1 or more.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.bfloat16: 1e-1}


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
        _layer_read(model, site)
    size = batch_rows(model, k=1, seq=tokens.shape[1], sites=sites, budget=budget)
    parts = [_clean_batch(model, part, sites) for part in tokens.split(size)]
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
        if model.fused is not None:
            yield part, run_fused(model.fused, layer, contexts[used], row, batch, sites)
        else:
            yield part, _sweep_batch(model, layer, contexts[used], row, batch, sites)


@torch.no_grad()
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
    check_layer(model, layer)
    points = points.to(model.device, model.dtype)

    def write(resid: Float[Tensor, "k seq d"], hook: Any) -> Tensor:
        resid = resid.clone()
        resid[:, -1] = points
        return resid

    out: dict[str, Tensor] = {}
    hooks = [(_hook(model, f"resid.{layer}"), write), *_readers(model, sites, out, last=True)]
    prompts = _checked(model, tokens[None]).expand(len(points), -1)
    with model.bridge.hooks(fwd_hooks=hooks):
        logits = model.bridge(prompts, logits_to_keep=1)
    if "logits" in sites:
        out["logits"] = logits[:, -1]
    return out


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
    sites = ("pre_norm", "post_norm", "logits")
    runs = clean(model, tokens, [layer], sites=sites, budget=budget)
    start = runs[f"resid.{layer}"]
    alphas = torch.tensor([0.0, 0.25, 0.5, 1.0], device=model.device, dtype=model.dtype)
    points = start[:, None] + alphas[:, None] * (start.roll(-1, 0) - start)[:, None]
    rows = torch.arange(len(tokens))
    own, agreement = dict.fromkeys(sites, 0.0), dict.fromkeys(sites, 0.0)
    finite = True
    try:
        swept_parts = list(
            sweep(model, layer, tokens, rows, points.__getitem__, sites, budget=budget)
        )
    except UserError:
        raise
    except Exception as error:  # whatever the code of the Hub stumbles on
        raise UserError(
            f"model type {model.family!r} cannot run points behind a prefix: {first_line(error)}"
        ) from error
    for part, out in swept_parts:
        for index in range(part.start, part.stop):
            reference = plain(model, layer, tokens[index], points[index], sites)
            for site in sites:
                swept, plainly, clean_run = (
                    out[site][index - part.start],
                    reference[site],
                    runs[site],
                )
                finite &= bool(swept.isfinite().all() and plainly.isfinite().all())
                errors = (
                    _error(swept[:1], clean_run[[index]]),
                    _error(plainly[:1], clean_run[[index]]),
                )
                own[site] = max(own[site], *errors)
                agreement[site] = max(agreement[site], _error(swept, plainly))
    tolerance = TOLERANCE[model.dtype]
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
    )


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
    cfg: Any = model.bridge.cfg
    heads, kv_heads = cfg.n_heads, cfg.n_key_value_heads or cfg.n_heads
    width = {"logits": model.vocab_size}
    tokens, keys = max(k, seq), max(k, seq) + seq
    attention = 4 * tokens * (heads + 2 * kv_heads) * cfg.d_head
    attention += 2 * keys * heads * cfg.d_head + 3 * tokens * keys * heads
    numbers = 4 * tokens * model.d_model + max(4 * tokens * cfg.d_mlp, attention)
    numbers += 2 * model.n_layers * seq * kv_heads * cfg.d_head
    for site in sites:
        numbers += 2 * k * width.get(site, cfg.d_mlp if site.startswith("gate") else model.d_model)
    row = numbers * model.dtype.itemsize
    if row > budget:
        raise UserError(f"a memory budget of {budget} bytes is less than one row needs: {row}")
    return budget // row


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


@torch.no_grad()
def _sweep_batch(
    model: Model,
    layer: int,
    contexts: Int[Tensor, "c seq"],
    row: Int[Tensor, " b"],
    points: Float[Tensor, "b k d"],
    sites: Sequence[str],
) -> dict[str, Tensor]:
    bridge = model.bridge
    k, seq = points.shape[1], contexts.shape[1]
    prefix = DynamicCache()
    bridge(contexts[:, :-1], past_key_values=prefix, return_type=None, logits_to_keep=1)
    hidden = torch.finfo(model.dtype).min
    itself = torch.full((k, k), hidden, device=model.device, dtype=model.dtype).fill_diagonal_(0)
    mask = torch.cat([itself.new_zeros(k, seq - 1), itself], dim=1)[None, None]
    out: dict[str, Tensor] = {}
    with (
        bridge.hooks(fwd_hooks=_readers(model, sites, out, last=False)),
        _skipped(model, layer),
    ):
        logits = bridge(
            points,
            start_at_layer=layer + 1,
            past_key_values=_Prefix(prefix, row),
            attention_mask=mask,
            position_ids=torch.full(points.shape[:2], seq - 1, device=model.device),
            logits_to_keep=0 if "logits" in sites else 1,
        )
    if "logits" in sites:
        out["logits"] = logits
    return out


@contextmanager
def _skipped(model: Model, layer: int) -> Iterator[None]:
    """Let blocks 0..layer hand on their input: the block after them starts from the points."""

    def hand_on(hidden: Tensor, *_: Any, **__: Any) -> Any:
        return (hidden, None) if model.tuple_blocks else hidden

    blocks = model.bridge.blocks[: layer + 1]
    for block in blocks:
        block.__dict__["forward"] = hand_on
    try:
        yield
    finally:
        for block in blocks:
            del block.__dict__["forward"]


@torch.no_grad()
def _clean_batch(
    model: Model, tokens: Int[Tensor, "b seq"], sites: Sequence[str]
) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    stop = max((_layer_read(model, site) for site in sites), default=0) + 1
    with model.bridge.hooks(fwd_hooks=_readers(model, sites, out, last=True)):
        if stop < model.n_layers:
            model.bridge(tokens, stop_at_layer=stop)
        else:
            logits = model.bridge(tokens, logits_to_keep=1)
            if "logits" in sites:
                out["logits"] = logits[:, -1]
    return out


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
    return f"blocks.{layer}.mlp.{'gate' if model.gated else 'in'}.hook_out"


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
    if kind == "gate" and _hook(model, site) not in model.bridge.hook_dict:
        raise UserError(f"site {site!r}: model type {model.family!r} has no such activation")
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


def _error(ours: Float[Tensor, "k width"], reference: Float[Tensor, "k width"]) -> float:
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
