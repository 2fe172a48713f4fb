"""Robustness of the sharpness: the interpolation with one analysis choice changed at a time.

The default is the one of `experiments.interpolation`: the output read after the final norm, its L2
distance, the straight path from A to B. Every choice is measured on the same pairs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from stable_regions.base.progress import Progress, log
from stable_regions.experiments.interpolation.measure import path_points, promoted
from stable_regions.experiments.measuring import Measuring
from stable_regions.experiments.robustness.adaptive import adaptive_paths
from stable_regions.measures.distances import DISTANCES, L2, Distance
from stable_regions.measures.paths import alphas
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, sweep
from stable_regions.prompts.draw import Tokens

# Real activations that a path goes through between its ends.
KNOTS = 3
# A measurement's name: the choice that is changed, and what it is changed to.
Key = tuple[str, str]
DEFAULT: Key = ("default", "default")
# What is read of an output, and how far it is from where the path begins.
READINGS: dict[Key, Distance] = {
    DEFAULT: L2,
    ("read_site", "pre_norm"): replace(L2, site="pre_norm"),
    ("read_site", "logits"): replace(L2, site="logits"),
    **{("distance", name): distance for name, distance in DISTANCES.items()},
}


def interpolated_norm(
    start: Float[Tensor, "pair d"], end: Float[Tensor, "pair d"], alpha: Float[Tensor, " step"]
) -> Float[Tensor, "pair step d"]:
    """The straight path, each point scaled to the norm `(1 - alpha) |A| + alpha |B|`.

    A straight path passes nearer to the origin than its ends lie; this one does not.
    """
    points = path_points(start, end, alpha)
    lengths = [torch.linalg.vector_norm(x, dim=-1)[:, None] for x in (start, end)]
    norm = lengths[0] + alpha * (lengths[1] - lengths[0])
    return points * (norm / torch.linalg.vector_norm(points, dim=-1))[..., None]


def slerp(
    start: Float[Tensor, "pair d"], end: Float[Tensor, "pair d"], alpha: Float[Tensor, " step"]
) -> Float[Tensor, "pair step d"]:
    """Spherical interpolation: the direction turns from A's to B's at an even pace.

    With the angle t between A and B, the direction is `(sin((1 - alpha) t) A / |A| + sin(alpha t)
    B / |B|) / sin(t)`, and the norm `(1 - alpha) |A| + alpha |B|`. `interpolated_norm` goes through
    the same points, at a pace of the angle that is fastest in the middle.
    """
    lengths = [torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (start, end)]
    a, b = start / lengths[0], end / lengths[1]
    # of the sum and the difference: exact for small angles too
    half = torch.atan2(
        torch.linalg.vector_norm(b - a, dim=-1), torch.linalg.vector_norm(a + b, dim=-1)
    )
    angle = 2 * half[:, None, None]
    weights = [torch.sin(part * angle) for part in ((1 - alpha)[:, None], alpha[:, None])]
    turned = weights[0] * a[:, None] + weights[1] * b[:, None]
    norm = lengths[0] + alpha * (lengths[1] - lengths[0])
    scale = torch.linalg.vector_norm(turned, dim=-1)
    # A and B of one direction: no angle to turn by
    points = torch.where(scale[..., None] > 0, turned / scale[..., None], a[:, None])
    return points * norm[..., None]


def through_activations(
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    alpha: Float[Tensor, " step"],
    residual: Float[Tensor, "prompt d"],
) -> Float[Tensor, "pair step d"]:
    """A path pulled to real activations: straight from one to the next, in `KNOTS` + 1 legs.

    At `KNOTS` even places of the straight path its point is replaced by the activation of another
    prompt that is nearest to it, each used once, in the order of the path. Points lie on the legs
    by arc length, so that the input moves at an even pace.

    Parameters
    ----------
    residual
        The activations to go through; those that equal A or B are not.
    """
    places = torch.arange(1, KNOTS + 1, dtype=start.dtype) / (KNOTS + 1)
    paths = []
    for a, b, wanted in zip(start, end, path_points(start, end, places), strict=True):
        is_other = (residual != a).any(-1) & (residual != b).any(-1)
        away = torch.cdist(wanted, residual).masked_fill(~is_other, torch.inf)
        knots = [a]
        for place in range(KNOTS):
            nearest = int(away[place].argmin())
            knots.append(residual[nearest])
            away[:, nearest] = torch.inf
        paths.append(_along(torch.stack([*knots, b]), alpha))
    return torch.stack(paths)


def _along(knots: Float[Tensor, "knot d"], alpha: Float[Tensor, " step"]) -> Tensor:
    """Points on the legs between knots, at these shares of the whole length."""
    legs = torch.linalg.vector_norm(knots.diff(dim=0), dim=-1)
    reached = torch.cat([legs.new_zeros(1), legs.cumsum(0)])
    at = alpha * reached[-1]
    leg = (torch.searchsorted(reached, at, right=True) - 1).clamp(0, len(legs) - 1)
    part = (at - reached[leg]) / legs[leg]
    return knots[leg] + part[:, None] * (knots[leg + 1] - knots[leg])


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "interpolated_norm": lambda a, b, alpha, _: interpolated_norm(a, b, alpha),
    "slerp": lambda a, b, alpha, _: slerp(a, b, alpha),
    "through_activations": through_activations,
}


def off_activations(
    points: Float[Tensor, "pair step d"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    residual: Float[Tensor, "prompt d"],
) -> list[float]:
    """How far a path is from real activations: a point's distance to the nearest, mean over it.

    In parts of the distance between A and B, which are among the activations.
    """
    away = torch.stack([torch.cdist(path, residual).amin(-1).mean() for path in points])
    return (away / torch.linalg.vector_norm(end - start, dim=-1)).tolist()


def covariance_points(
    residual: Float[Tensor, "prompt d"], count: int, generator: torch.Generator
) -> Float[Tensor, "count d"]:
    """Random points with the mean and the covariance of the prompts' activations (normal)."""
    centre = residual.mean(0)
    weights = torch.randn(count, len(residual), generator=generator, dtype=residual.dtype)
    return centre + weights @ (residual - centre) / (len(residual) - 1) ** 0.5


def isotropic_points(
    start: Float[Tensor, "pair d"], end: Float[Tensor, "pair d"], generator: torch.Generator
) -> Float[Tensor, "pair d"]:
    """Points as far from A as B is, in directions drawn uniformly."""
    direction = torch.randn(start.shape, generator=generator, dtype=start.dtype)
    length = torch.linalg.vector_norm(end - start, dim=-1, keepdim=True)
    return start + length * direction / torch.linalg.vector_norm(direction, dim=-1, keepdim=True)


def read_paths(
    model: Model,
    contexts: Sequence[Tokens],
    points: Float[Tensor, "pair step d"],
    readings: Iterable[Key],
    *,
    layer: int,
    budget: int,
) -> dict[Key, Float[np.ndarray, "pair step"]]:
    """Output distances along paths, read in several ways from one pass.

    Parameters
    ----------
    contexts
        Tokens of the first prompt of each pair, all of one length.
    points
        What takes the place of the residual stream after `layer` at the last position.
    readings
        Keys of `READINGS`.
    budget
        Memory for one batch, in bytes.
    """
    readings = list(readings)
    progress = Progress("robustness", points.shape[0] * points.shape[1], "points")
    parts: dict[Key, list[np.ndarray]] = {key: [] for key in readings}
    for rows, out in sweep(
        model,
        layer,
        torch.tensor(np.stack(contexts)),
        torch.arange(len(contexts)),
        lambda rows: points[rows],
        sorted({READINGS[key].site for key in readings}),
        budget=budget,
    ):
        for key in readings:
            distance = READINGS[key]
            # one path at a time: a batch's logits in float64 would not fit the budget
            paths = (distance.function(path.double()) for path in out[distance.site])
            parts[key] += [path.cpu().numpy() for path in paths]
        progress.advance((rows.stop - rows.start) * points.shape[1])
    return {key: np.stack(paths) for key, paths in parts.items()}


def _grid(steps: int, like: Tensor) -> Float[Tensor, " step"]:
    return torch.as_tensor(alphas(steps), dtype=like.dtype)


def _rows(
    pairs: pd.DataFrame,
    key: Key,
    distance: list[Any],
    alpha: list[Any] | None = None,
) -> pd.DataFrame:
    table = pairs[["pair", "prompt_a", "prompt_b"]].copy()
    table["choice"], table["value"] = key
    table["alpha"] = alpha or [alphas(len(path)) for path in distance]
    table["distance"] = distance
    return table


def default_table(
    model: Model,
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    key: Key,
    *,
    layer: int,
    steps: int,
    budget: int,
) -> pd.DataFrame:
    """The default measurement on a model or a prompt set that is itself the choice.

    Parameters
    ----------
    prompts, pairs
        As made by `stable_regions.prompts.draw`; all prompts of one length.
    key
        The name that the measurement goes by.

    Returns
    -------
    One row a pair: `pair`, `prompt_a`, `prompt_b`, `choice`, `value`, and lists: `alpha`,
    `distance`.
    """
    tokens = np.stack(prompts["tokens"].to_list())
    a, b = pairs["prompt_a"].to_numpy(), pairs["prompt_b"].to_numpy()
    used, index = np.unique(np.concatenate([a, b]), return_inverse=True)
    site = f"resid.{layer}"
    residual = clean(model, torch.tensor(tokens[used]), [layer], budget=budget)[site].cpu()
    # the path itself is never coarser than float32, whatever the model's dtype
    residual = promoted(residual)
    start, end = residual[index[: len(a)]], residual[index[len(a) :]]
    points = path_points(start, end, _grid(steps, residual))
    distances_read = read_paths(
        model, list(tokens[a]), points, [DEFAULT], layer=layer, budget=budget
    )
    return _rows(pairs, key, list(distances_read[DEFAULT]))


def varied_table(
    model: Model,
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    residual: Float[Tensor, "prompt d"],
    *,
    layer: int,
    steps: int,
    read_sites: Sequence[str],
    distances: Sequence[str],
    grids: Sequence[int],
    adaptive: Sequence[float],
    paths: Sequence[str],
    targets: Sequence[str],
    seed: int,
    budget: int,
) -> pd.DataFrame:
    """The default, and every choice that needs no other model and no other prompts.

    Parameters
    ----------
    prompts, pairs
        As made by `stable_regions.prompts.draw`; all prompts of one length.
    residual
        The residual stream after `layer` at the last position of every prompt; the covariance is
        that of all of them, whether or not they are in `pairs`.
    read_sites, distances
        Read from the default's own paths.
    grids
        Numbers of steps.
    adaptive
        Tolerances, relative: as many points as each path needs for it.
    paths
        Keys of `PATHS`.
    targets
        `covariance`: A to a point of `covariance_points`; `isotropic`: A to a point of
        `isotropic_points`.
    seed
        Of the random targets.

    Returns
    -------
    The rows of `default_table` for each choice and value, those of the default first; with
    `off_activations`, of the default and of the paths.
    """
    residual = promoted(residual)
    tokens = list(prompts["tokens"])
    contexts = [tokens[i] for i in pairs["prompt_a"]]
    start, end = (residual[pairs[f"prompt_{side}"].to_numpy(copy=True)] for side in "ab")
    grid = _grid(steps, residual)
    readings = [DEFAULT, *(("read_site", site) for site in read_sites)]
    readings += [("distance", distance) for distance in distances]
    straight = path_points(start, end, grid)
    curves = read_paths(model, contexts, straight, readings, layer=layer, budget=budget)
    tables = [_rows(pairs, key, list(distance)) for key, distance in curves.items()]
    tables[0]["off_activations"] = off_activations(straight, start, end, residual)

    def default(key: Key, points: Float[Tensor, "pair step d"]) -> pd.DataFrame:
        curves = read_paths(model, contexts, points, [DEFAULT], layer=layer, budget=budget)
        return _rows(pairs, key, list(curves[DEFAULT]))

    for count in grids:
        points = path_points(start, end, _grid(count, residual))
        tables.append(default(("steps", str(count)), points))
    for tolerance in adaptive:
        refined = adaptive_paths(
            model, torch.tensor(np.stack(contexts)), start, end,
            layer=layer, tolerance=tolerance, budget=budget,
        )  # fmt: skip
        alpha, distance = map(list, zip(*refined, strict=True))
        tables.append(_rows(pairs, ("steps", f"adaptive {tolerance:g}"), distance, alpha))
    for name in paths:
        points = PATHS[name](start, end, grid, residual)
        off = off_activations(points, start, end, residual)
        tables.append(default(("path", name), points).assign(off_activations=off))
    for name in targets:
        generator = torch.Generator().manual_seed(seed)
        if name == "covariance":
            target = covariance_points(residual, len(pairs), generator)
        else:
            target = isotropic_points(start, end, generator)
        tables.append(default(("target", name), path_points(start, target, grid)))
    return pd.concat(tables, ignore_index=True)


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Change one choice at a time: the table of all and its metadata."""
    entry, pairs = job.entry, job.own_pairs
    [layer], steps = entry["layers"], entry["steps"]
    default = partial(default_table, layer=layer, steps=steps, budget=job.budget)
    tables = [
        varied_table(
            job.model,
            job.prompts,
            pairs,
            job.activations[f"resid.{layer}"],
            layer=layer,
            steps=steps,
            read_sites=entry["read_sites"],
            distances=entry["distances"],
            grids=entry["grids"],
            adaptive=entry["adaptive"],
            paths=entry["paths"],
            targets=entry["targets"],
            seed=entry["seed"],
            budget=job.budget,
        )
    ]
    for name, prompts, its_pairs in job.others:
        log.info("corpus: %s", name)
        some = its_pairs.iloc[: len(pairs)]
        tables.append(default(job.model, prompts, some, ("corpus", name)))
    for dtype in entry["dtypes"]:
        log.info("dtype: %s", dtype)
        tables.append(default(job.load(dtype), job.prompts, pairs, ("dtype", dtype)))
    measured = [L2, *(DISTANCES[name] for name in entry["distances"])]
    units = "; ".join(f"{one.label}: {one.unit}" for one in measured)
    return pd.concat(tables, ignore_index=True), {"units": units}
