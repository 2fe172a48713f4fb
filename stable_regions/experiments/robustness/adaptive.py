"""The max slope to a tolerance, from points where the output moves and few elsewhere.

A grid of 50 points cannot see a jump narrower than its step, and spends most of its points where
nothing happens. Here a path begins with `CELLS` equal cells; in each round its `CUT` steepest cells
are cut in three, until a round raises the steepest slope by no more than the tolerance, `ROUNDS`
times at most: the narrowest cell is then 1/1296 of the path. A cell's slope is the mean of its
thirds', so a round never lowers the steepest. What a coarse cell hides altogether, a rise and a
fall within it, is not found: the error against a fine grid has to be measured
(`stable_regions.experiments.robustness.tables.steps`).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.experiments.interpolation.measure import path_points, promoted
from stable_regions.measures.paths import slopes
from stable_regions.models.model import Model
from stable_regions.models.sweep import after_prefix, rows_that_fit

CELLS = 16
CUT = 3
ROUNDS = 4
THIRDS = np.array([1, 2]) / 3

# Numbers of paths, alpha -> the outputs there.
Evaluate = Callable[
    [Int[Tensor, " row"], Float[Tensor, "row point"]], Float[Tensor, "row point width"]
]
# Alpha, ascending from 0 to 1, and the distance of each output from the first.
Path = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]


def refine(evaluate: Evaluate, count: int, *, tolerance: float) -> list[Path]:
    """Evaluate `count` paths, more closely where they are steep.

    Parameters
    ----------
    tolerance
        A path is done when a round raises its max slope by this share or less.
    """
    rows = np.arange(count)
    alpha = np.tile(np.linspace(0, 1, CELLS + 1), (count, 1))
    out = evaluate(torch.from_numpy(rows), torch.from_numpy(alpha))
    first = out[:, :1]
    distance = _lengths(out - first)
    paths: list[Path] = [(alpha[row], distance[row]) for row in rows]
    for _ in range(ROUNDS):
        steep = slopes(distance, alpha)
        cells = np.argsort(-steep, axis=1, kind="stable")[:, :CUT]
        left = np.take_along_axis(alpha, cells, axis=1)[..., None]
        width = np.take_along_axis(np.diff(alpha), cells, axis=1)[..., None]
        between = (left + width * THIRDS).reshape(len(rows), -1)
        which = torch.from_numpy(rows)
        away = _lengths(evaluate(which, torch.from_numpy(between)) - first[which])
        alpha = np.concatenate([alpha, between], axis=1)
        order = np.argsort(alpha, axis=1)
        alpha = np.take_along_axis(alpha, order, axis=1)
        distance = np.take_along_axis(np.concatenate([distance, away], axis=1), order, axis=1)
        for row, *path in zip(rows, alpha, distance, strict=True):
            paths[row] = (path[0], path[1])
        going = slopes(distance, alpha).max(axis=1) > steep.max(axis=1) * (1 + tolerance)
        rows, alpha, distance = rows[going], alpha[going], distance[going]
        if not len(rows):
            break
    return paths


def adaptive_paths(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    *,
    layer: int,
    tolerance: float,
    budget: int,
) -> list[Path]:
    """Output distances after the final norm (L2) along straight paths, by `refine`.

    Each prompt's prefix is run once, whatever the number of rounds.

    Parameters
    ----------
    tokens
        The first prompt of each pair: the context.
    start, end
        The ends of the paths, in place of the residual stream after `layer`.
    budget
        Memory for one batch, in bytes.
    """
    start, end = promoted(start), promoted(end)
    # all that fit: few points of a path are run at once, and in the last rounds of few paths
    size, _ = rows_that_fit(
        model, k=CELLS + 1, seq=tokens.shape[1], sites=["post_norm"], budget=budget
    )

    def refined(context: Tensor, a: Tensor, b: Tensor) -> list[Path]:
        run = after_prefix(model, context.to(model.device))

        def evaluate(rows: Tensor, alpha: Tensor) -> Tensor:
            points = path_points(a[rows], b[rows], alpha.to(a)).to(model.device, model.dtype)
            out = run(layer, rows.to(model.device), points, ["post_norm"])
            return promoted(out["post_norm"]).cpu()

        return refine(evaluate, len(context), tolerance=tolerance)

    progress = Progress("adaptive", len(tokens), "paths")
    paths: list[Path] = []
    for batch in zip(*(each.split(size) for each in (tokens, start, end)), strict=True):
        paths += refined(*batch)
        progress.advance(len(batch[0]))
    return paths


def _lengths(out: Float[Tensor, "row point width"]) -> Float[np.ndarray, "row point"]:
    return torch.linalg.vector_norm(out, dim=-1).double().numpy()
