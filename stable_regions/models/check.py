"""The load check: a model's sweeps compared with clean runs and plain patching."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError, first_line
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, full_forward, sweep

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
    """The result of a load check; all errors are relative to the norm at the site.

    Attributes
    ----------
    self_patch_error
        By site: largest error when a prompt is run on the engine as it is, or its own activation is
        patched back, against a clean run through the hooks.
    sweep_error
        By site: largest error of a sweep against plain patching, at points between prompts.
    token
        By site: how far plain patching's outputs are from those of the same prompts with another
        last token, at the same points. Nothing, unless later layers look at the token again: then
        the output is no function of the residual stream alone.
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
    self_patch_error: dict[str, float]
    sweep_error: dict[str, float]
    token: dict[str, float]
    tolerance: float
    verdict: str
    trial: dict[str, Any]


def check(model: Model, tokens: Int[Tensor, "n seq"], layer: int, *, budget: int) -> Check:
    """Compare the engine with clean runs and with plain patching, on a few prompts.

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
    ran = clean(model, tokens, [], sites=CHECKED, budget=budget)
    tokens = tokens.to(model.device)
    runs = model.hooked.clean(tokens, (f"resid.{layer}", *CHECKED))
    points = _between(runs[f"resid.{layer}"])
    try:
        swept = _sweep_outputs(model, tokens, layer, points, budget)
    except UserError:
        raise
    except Exception as error:  # whatever the code of the Hub stumbles on
        raise UserError(
            f"model type {model.family!r} cannot run points behind a prefix: {first_line(error)}"
        ) from error
    full = _full_outputs(model, tokens, layer, points)
    others = torch.cat([tokens[:, :-1], (tokens[:, -1:] + 1) % model.vocab_size], dim=1)
    elsewhere = _full_outputs(model, others, layer, points)
    finite = all(bool(out[site].isfinite().all()) for out in (swept, full) for site in CHECKED)
    unchanged = (ran, *({site: out[site][:, 0] for site in CHECKED} for out in (swept, full)))
    own = {
        site: max(relative_error(out[site], runs[site]) for out in unchanged) for site in CHECKED
    }
    agreement = {site: relative_error(swept[site], full[site]) for site in CHECKED}
    tolerance = TOLERANCE[model.dtype]
    # to seven digits, more than any tolerance asks for
    projections = {
        site: [
            [[float(f"{x:.7g}") for x in point] for point in prompt] for prompt in along.tolist()
        ]
        for site, along in ((site, _along(full[site])) for site in CHECKED)
    }
    return Check(
        engine=model.engine,
        dtype=str(model.dtype).removeprefix("torch."),
        layer=layer,
        prompts=len(tokens),
        points=points.shape[0] * points.shape[1],
        self_patch_error=own,
        sweep_error=agreement,
        token={site: relative_error(elsewhere[site], full[site]) for site in CHECKED},
        tolerance=tolerance,
        verdict=_verdict(finite, own, agreement, tolerance),
        trial={"tokens": tokens.tolist(), "plain": projections},
    )


def check_again(model: Model, record: Mapping[str, Any]) -> None:
    """UserError unless a newly loaded model is the one that was checked.

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
    start = model.runner.clean(tokens, [site])[site]
    swept = _sweep_outputs(model, tokens, layer, _between(start), UNBOUNDED)
    # of a model that is loaded in another dtype too, the coarser of the two decides
    tolerance = 2 * max(TOLERANCE[model.dtype], TOLERANCE[getattr(torch, record["dtype"])])
    for name, projection in trial["plain"].items():
        error = relative_error(_along(swept[name]), torch.tensor(projection, dtype=torch.float64))
        if not error <= tolerance:
            raise UserError(
                f"{model.folder}: is not the model that was checked: {name} differs by {error:.1e},"
                f" more than {tolerance:.0e}; delete the activations of the model to check it again"
            )


def _along(values: Float[Tensor, "*n width"]) -> Float[Tensor, "*n directions"]:
    """Projections on random directions, the same ones for all vectors of a width."""
    generator = torch.Generator().manual_seed(0)
    width = values.shape[-1]
    directions = torch.randn(width, DIRECTIONS, generator=generator, dtype=torch.float64)
    return values.double().cpu() @ directions


def _between(start: Float[Tensor, "n d"]) -> Float[Tensor, "n k d"]:
    """Points between each prompt's activation and the next prompt's."""
    alphas = torch.tensor(ALPHAS, device=start.device, dtype=start.dtype)
    return start[:, None] + alphas[:, None] * (start.roll(-1, 0) - start)[:, None]


def _full_outputs(
    model: Model, tokens: Int[Tensor, "n seq"], layer: int, points: Float[Tensor, "n k d"]
) -> dict[str, Float[Tensor, "n k width"]]:
    """Outputs of plain patching at each prompt's points."""
    rows = [
        full_forward(model, layer, prompt, its, CHECKED)
        for prompt, its in zip(tokens, points, strict=True)
    ]
    return {site: torch.stack([row[site] for row in rows]) for site in CHECKED}


def _sweep_outputs(
    model: Model,
    tokens: Int[Tensor, "n seq"],
    layer: int,
    points: Float[Tensor, "n k d"],
    budget: int,
) -> dict[str, Float[Tensor, "n k width"]]:
    """Outputs of a sweep at each prompt's points."""
    rows = torch.arange(len(tokens))
    parts = sweep(model, layer, tokens, rows, points.__getitem__, CHECKED, budget=budget)
    outs = [out for _, out in parts]
    return {site: torch.cat([out[site] for out in outs]) for site in CHECKED}


def relative_error(ours: Float[Tensor, "*k width"], reference: Float[Tensor, "*k width"]) -> float:
    """Largest L2 error of a row, relative to the reference's norm."""
    ours, reference = ours.double(), reference.double()
    return float(((ours - reference).norm(dim=-1) / reference.norm(dim=-1)).max())


def _verdict(
    finite: bool, own: dict[str, float], agreement: dict[str, float], tolerance: float
) -> str:
    if not finite:
        return "an output is not finite"
    for what, errors in (("a clean run", own), ("plain patching", agreement)):
        for site, error in errors.items():
            if not error <= tolerance:
                return f"{site} differs from {what} by {error:.1e}, more than {tolerance:.0e}"
    return "passed"
