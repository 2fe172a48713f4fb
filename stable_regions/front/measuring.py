"""What can be measured of a loaded model: paths, planes, points of one's own, sharpness."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.base.files import read_object
from stable_regions.base.progress import Progress, log
from stable_regions.experiments.interpolation.measure import (
    interpolate,
    output_movement,
    path_points,
    promoted,
)
from stable_regions.experiments.interpolation.tables import BLOCK, spread
from stable_regions.experiments.plane.measure import ROW, fields, frames, grid_axis
from stable_regions.front.files import carried, configuration, counted, random_prompts
from stable_regions.front.loading import LanguageModel
from stable_regions.front.results import (
    PathResult,
    Place,
    PlaneResult,
    SharpnessResult,
    SweepResult,
)
from stable_regions.measures.paths import alphas, max_slope
from stable_regions.models.check import TOLERANCE
from stable_regions.models.model import check_layer
from stable_regions.models.sweep import clean, sweep_at
from stable_regions.models.sweep import sweep as sweep_rows

SITES = ("post_norm", "pre_norm", "logits")
STEPS = 50
Vector = Sequence[float] | Float[np.ndarray, " d"] | Float[Tensor, " d"]
Points = Sequence[Sequence[float]] | Float[np.ndarray, "k d"] | Float[Tensor, "k d"]
# The study's tables of median max slopes, the one with the most pairs first.
STUDIED = ("sharpness", "size", "layers")
REFERENCE = "reference/embedded.json"


def activation(
    model: LanguageModel, text: str, *, layer: int = 0, position: int = -1
) -> Float[np.ndarray, " d"]:
    """The residual stream of a text after a layer, at a position (negative: from the end)."""
    check_layer(model.model, layer)
    tokens = torch.tensor(model.files.tokens(text))
    place = counted(position, tokens.shape[1])
    return _numpy(_activations(model, tokens, layer, place)[0])


def path(
    model: LanguageModel,
    text: str,
    other: str | None = None,
    *,
    direction: Vector | None = None,
    layer: int = 0,
    position: int = -1,
    steps: int = STEPS,
) -> PathResult:
    """The model's output along a path from a text's activation to another's.

    `X(alpha) = A + alpha (B - A)` takes the place of the residual stream after `layer` at
    `position` of the first text, and the output is read at that text's last position (the paper,
    sections 2 and 3). At another position than the last, what comes after it is run anew for each
    point, since it sees what is written.

    Parameters
    ----------
    other
        The text that B is the activation of, with as many tokens.
    direction
        `[d]`, in place of B - A: a steering vector, an SAE's decoder row, a probe. Either this or
        `other` is given.
    position
        Of the token, counted from 0, or from the end if negative.
    steps
        Points of the path, both ends included.

    Raises
    ------
    UserError
        A text, the layer, the position or the direction cannot be used, or the load check fails.
    """
    if (other is None) == (direction is None):
        raise UserError("a path needs another text or a direction, and not both")
    if steps < 2:
        raise UserError(f"a path of {steps} step(s): give 2 or more")
    texts = [text] if other is None else [text, other]
    ids = model.files.tokens(*texts)
    tokens = torch.tensor(ids)
    place = _place(model, text, tokens, layer, position)
    ends = promoted(_activations(model, tokens, layer, place.position))
    start = ends[0]
    if direction is None:
        end = ends[1]
        same = (
            f"the prompts have one activation after layer {layer} at position {place.position}: "
            "they must differ up to there"
        )
    else:
        end = start + _given("direction", direction, (model.model.d_model,)).to(start)
        same = "the direction leads nowhere: beside the activation it is zero"
    if torch.equal(start, end):
        raise UserError(same)
    grid = torch.as_tensor(alphas(steps), dtype=start.dtype, device=start.device)
    out = _outputs(model, tokens[0], place, path_points(start[None], end[None], grid)[0])
    moved = {name: _numpy(each[0]) for name, each in output_movement(_rows(out)).items()}
    top, probability = _top(out["logits"])
    return PathResult(
        place=place,
        other=other if other is not None else "a direction",
        other_tokens=model.files.words(ids[1]) if other is not None else (),
        alpha=alphas(steps),
        distance=moved["distance_post_norm"],
        distance_pre_norm=moved["distance_pre_norm"],
        steps=moved["step_post_norm"],
        top_token=top,
        probability=probability,
        top_text=model.files.words(top.tolist()),
        input_distance=float((end - start).norm()),
        input_norm=float(start.norm()),
    )


def plane(
    model: LanguageModel,
    text: str,
    second: str,
    third: str,
    *,
    layer: int = 0,
    resolution: int = 41,
    extent: float = 0.25,
) -> PlaneResult:
    """The model's output over the plane of three texts' activations at the last position.

    Parameters
    ----------
    resolution
        Points along each side.
    extent
        How far the plane goes beyond A, B and C, as a part of B - A.

    Raises
    ------
    UserError
        A text or the layer cannot be used, or the load check fails.
    """
    texts = (text, second, third)
    ids = model.files.tokens(*texts)
    tokens = torch.tensor(ids)
    place = _place(model, text, tokens, layer, -1)
    runs = clean(model.model, tokens, [layer], sites=SITES[:2], budget=model.budget)
    frame = frames(runs[f"resid.{layer}"][None])
    axis = grid_axis(resolution, extent)
    found = fields(
        model.model,
        tokens[None],
        frame,
        {site: runs[site][None] for site in SITES[:2]},
        layer=layer,
        axis=axis,
        budget=model.budget,
        progress=Progress("plane", 3 * -(-(resolution**2) // ROW) * ROW, "points"),
    )
    top = found["top_token"][0, 0].numpy().astype(np.int64)
    known = [int(token) for token in np.unique(top)]
    first, again, last = (model.files.words(some[-1:])[0] for some in ids)
    return PlaneResult(
        place=place,
        texts=texts,
        last_tokens=(first, again, last),
        axis=axis,
        distance=_numpy(found["distance_post_norm"][0]),
        top_token=top,
        top_text=dict(zip(known, model.files.words(known), strict=True)),
        place_c=float(frame.place[0]),
    )


def sweep(
    model: LanguageModel, text: str, points: Points, *, layer: int = 0, position: int = -1
) -> SweepResult:
    """The model's output at points of one's own, each in turn in place of an activation.

    Parameters
    ----------
    points
        `[k, d]`: each takes the place of the residual stream after `layer` at `position`.

    Raises
    ------
    UserError
        The text, the layer, the position or the points cannot be used, or the load check fails.
    """
    tokens = torch.tensor(model.files.tokens(text))
    given = _given("points", points, (None, model.model.d_model))
    place = _place(model, text, tokens, layer, position)
    out = _outputs(model, tokens[0], place, given)
    runs = clean(model.model, tokens, [], sites=SITES, budget=model.budget)
    top, probability = _top(out["logits"])
    return SweepResult(
        place=place,
        outputs={site: _numpy(out[site]) for site in SITES},
        clean={site: _numpy(runs[site][0]) for site in SITES},
        top_token=top,
        probability=probability,
        top_text=model.files.words(top.tolist()),
    )


def sharpness(
    model: LanguageModel,
    pairs: int = 100,
    *,
    layer: int = 0,
    tokens: int = 10,
    steps: int = STEPS,
    texts: str | Path | None = None,
) -> SharpnessResult:
    """The median max slope of random pairs of prompts (the paper, section 4.1).

    Pair i is (prompt i, prompt i + 1), as the paper's authors have it. With 10 tokens and without
    `texts` the prompts are the first of the study's own.

    Parameters
    ----------
    tokens
        Of each prompt.
    texts
        A text file, or a folder of them, to draw prompts from in place of the study's corpus.

    Raises
    ------
    UserError
        The texts or the layer cannot be used, or the load check fails.
    """
    check_layer(model.model, layer)
    prompts = random_prompts(model.files, pairs + 1, tokens=tokens, texts=texts)
    ids = torch.tensor(prompts.table["tokens"].tolist())
    verdict = model.verdict(ids, layer)
    started = time.monotonic()
    ends = clean(model.model, ids, [layer], budget=model.budget)[f"resid.{layer}"]
    log.info("%d pairs of %d steps: %d points", pairs, steps, pairs * steps)
    found = interpolate(
        model.model, ids[:-1], ends[:-1], ends[1:], layer=layer, steps=steps, top_tokens=None,
        budget=model.budget, progress=Progress("max slopes", pairs * steps, "points", every=5),
    )  # fmt: skip
    slopes = max_slope(found["distance_post_norm"])
    finite = slopes[np.isfinite(slopes)]
    summary = spread(finite, block=BLOCK, resamples=2000, seed=0)
    texts_of = prompts.table["text"]
    return SharpnessResult(
        model=model.files.name,
        layer=layer,
        verdict=verdict,
        drawn=prompts.drawn,
        pairs=pd.DataFrame(
            {
                "prompt_a": texts_of[:-1].to_numpy(),
                "prompt_b": texts_of[1:].to_numpy(),
                "max_slope": slopes,
                "distance": found["distance_post_norm"][:, -1],
            }
        ),
        median=float(summary["median"]),
        low=float(summary["ci_low"]),
        high=float(summary["ci_high"]),
        known=known_sharpness(layer),
        seconds=time.monotonic() - started,
    )


def known_sharpness(layer: int = 0) -> pd.DataFrame:
    """The median max slopes that the study `embedded` has of its models, at a write layer.

    Returns
    -------
    One row a model: `what`, `median`, `low`, `high` (95 %), `pairs`, `source`.
    """
    experiments, estimates = (
        configuration().experiments,
        read_object(carried(REFERENCE))["estimates"],
    )
    rows: dict[str, tuple[Any, ...]] = {}
    for table in STUDIED:
        for key, interval in estimates.items():
            name, *site = key.removeprefix(f"{table}/").split("/")
            if key.startswith(f"{table}/") and site == [str(layer), "post_norm"]:
                pairs = experiments[table].model_dump()["pairs"]
                rows.setdefault(name, (name, *interval, pairs, f"{REFERENCE}, {table}"))
    columns = ["what", "median", "low", "high", "pairs", "source"]
    found = pd.DataFrame(rows.values(), columns=columns)
    return found.sort_values("median", ascending=False, ignore_index=True)


def stacked(paths: Sequence[PathResult]) -> pd.DataFrame:
    """The tables of several paths, one below the other, each with its second prompt as `other`."""
    return pd.concat([each.table().assign(other=each.other) for each in paths], ignore_index=True)


def _place(
    model: LanguageModel, text: str, tokens: Int[Tensor, "n seq"], layer: int, position: int
) -> Place:
    check_layer(model.model, layer)
    return Place(
        model=model.files.name,
        text=text,
        tokens=model.files.words(tokens[0].tolist()),
        layer=layer,
        position=counted(position, tokens.shape[1]),
        verdict=model.verdict(tokens, layer),
    )


def _activations(
    model: LanguageModel, tokens: Int[Tensor, "n seq"], layer: int, position: int
) -> Float[Tensor, "n d"]:
    """The residual stream at a position: nothing after it has a part in that."""
    upto = tokens[:, : position + 1]
    return clean(model.model, upto, [layer], budget=model.budget)[f"resid.{layer}"]


def _outputs(
    model: LanguageModel,
    tokens: Int[Tensor, " seq"],
    place: Place,
    points: Float[Tensor, "k d"],
) -> dict[str, Float[Tensor, "k width"]]:
    """What the sites hold at the end of a prompt that points are written into."""
    one = model.model
    if not place.is_last:
        found = sweep_at(
            one, place.layer, tokens, place.position, points, SITES, budget=model.budget
        )
        _check_position(model, tokens, place, points, found)
        return found
    outs = []
    for part in points.split(STEPS):  # a row's cost grows with the square of its points
        row = part[None]
        rows = sweep_rows(
            one, place.layer, tokens[None], torch.tensor([0]), row.__getitem__, SITES,
            budget=model.budget,
        )  # fmt: skip
        outs += [out for _, out in rows]
    return {site: torch.cat([out[site][0] for out in outs]) for site in SITES}


def _check_position(
    model: LanguageModel,
    tokens: Int[Tensor, " seq"],
    place: Place,
    points: Float[Tensor, "k d"],
    found: dict[str, Float[Tensor, "k width"]],
) -> None:
    """UserError unless the first and the last point are what plain patching gives."""
    one, ends = model.model, [0, len(points) - 1]
    prompts = tokens.to(one.device).expand(2, -1)
    written = points[ends].to(one.device, one.dtype)
    plainly = one.hooked.full_forward(place.layer, prompts, written, SITES, place.position)
    for site in SITES:
        swept, theirs = found[site][ends].double(), plainly[site].double()
        error = float(((swept - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max())
        if not error <= TOLERANCE[one.dtype]:
            raise UserError(
                f"{model.files.name}: position {place.position} cannot be written behind a prefix: "
                f"{site} differs from plain patching by {error:.1e}; the last position can"
            )


def _given(what: str, values: Vector | Points, shape: tuple[int | None, ...]) -> Tensor:
    """Numbers of the user's as a tensor of a shape; `UserError` if they are of another one."""
    given = torch.as_tensor(values)
    fits = given.ndim == len(shape) and all(
        wanted in (None, swept) for wanted, swept in zip(shape, given.shape, strict=False)
    )
    if not fits or 0 in given.shape:
        right = ", ".join("any number" if each is None else str(each) for each in shape)
        raise UserError(f"the {what} have the shape {[*given.shape]}; [{right}] is right")
    if not given.isfinite().all():
        raise UserError(f"the {what} hold a number that is not finite")
    return given if given.is_floating_point() else given.float()


def _rows(out: dict[str, Tensor]) -> dict[str, Tensor]:
    return {site: value[None] for site, value in out.items()}


def _top(
    logits: Float[Tensor, "k token"],
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """The most likely token at each point, and how likely it is."""
    probability, token = torch.softmax(promoted(logits), dim=-1).max(-1)
    return token.cpu().numpy(), _numpy(probability)


def _numpy(values: Tensor) -> np.ndarray:
    return promoted(values).cpu().numpy()
