"""Distances between all prompts of a set, by the model's outputs.

For prompts i and j of one length, `D[i, j] = || F_i(A_i) - F_i(A_j) ||` is the output distance of
their path's ends (paper, section 3), and directed, since the context is that of i. What happens on
the way is measured for every two prompts once, in the context of the one that comes first.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.base.progress import Progress, log
from stable_regions.experiments.interpolation.measure import (
    READ_SITES,
    output_movement,
    path_points,
    promoted,
)
from stable_regions.experiments.measuring import Measuring
from stable_regions.experiments.pairwise.blocks import by_context, row_blocks
from stable_regions.measures.paths import alphas, path_measures
from stable_regions.models.model import Model
from stable_regions.models.sweep import sweep

# On a few pairs every step is cut in ten, and the path is measured at each of these coarser grids.
FINER = 10
STRIDES = (10, 5, 2, 1)


def pairwise_arrays(
    model: Model,
    prompts: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    rows: tuple[int, int],
    layers: Sequence[int],
    geometry: Sequence[int] = (),
    steps: int,
    fine_pairs: int,
    budget: int,
) -> dict[str, np.ndarray]:
    """Measure the rows of one block.

    The ends of all paths of a row are points in one context, run once; paths then need the points
    between them alone.

    Parameters
    ----------
    prompts
        As made by `prompts.draw`; contexts follow each other and have as many prompts.
    activations
        `resid.N` and `post_norm` `[prompt, d]`, for each of the layers, and `top_token` `[prompt]`.
    rows
        First prompt of the block, and the one after its last.
    geometry
        Later layers whose clean activations are compared too.
    fine_pairs
        About how many pairs of the whole set are measured on the finer grid too: every so many-th.

    Returns
    -------
    With the n prompts of a context as columns: `input` `[layer, row, n]`, L2 distance of the
    activations, and `geometry.N` `[row, n]`; `states` `[row, n]`, the same of the outputs of clean
    runs; for both read sites `directed_<site>` `[layer, row, n]`, and for the block's pairs in the
    order of `all_pairs` `distance_<site>`
    `[layer, pair, step]` and `step_<site>` `[layer, pair, step - 1]` as in `interpolate`;
    `fine_pair` `[fine]`, numbers of pairs, and `fine_<measure>_<site>` `[layer, fine, grid]` on the
    grids of `fine_grids`, for the measures of `path_measures`; `top_token` `[row]`.
    """
    groups = by_context(prompts)
    first_pair = np.cumsum([0, *(len(g) * (len(g) - 1) // 2 for g in groups)]).tolist()
    every = max(1, first_pair[-1] // fine_pairs)
    inside = [
        (group, start)
        for group, start in zip(groups, first_pair[:-1], strict=True)
        if group[0] < rows[1] and group[-1] >= rows[0]
    ]
    own = np.arange(*rows)
    pairs = sum(int((group[-1] - np.intersect1d(own, group)).sum()) for group, _ in inside)
    progress = Progress("pairwise", pairs * len(layers), "pairs")
    some = [
        (group, start, span)
        for group, start in inside
        for span in _spans(group, rows, width=model.d_model, budget=budget)
    ]
    parts: dict[str, list[np.ndarray]] = {}
    for layer in layers:
        arrays: dict[str, list[np.ndarray]] = {}
        for group, start, span in some:
            measured = _group_rows(
                model, prompts, activations[f"resid.{layer}"], group, layer=layer, rows=span,
                steps=steps, first_pair=start, every=every, budget=budget, progress=progress,
            )  # fmt: skip
            for name, value in measured.items():
                arrays.setdefault(name, []).append(value)
        for name, pieces in arrays.items():
            parts.setdefault(name, []).append(np.concatenate(pieces))
    result = {name: np.stack(values) for name, values in parts.items()}
    result["fine_pair"] = result["fine_pair"][0]
    result["input"] = np.stack(
        [_activation_distances(activations[f"resid.{n}"], groups, rows) for n in layers]
    )
    for n in geometry:
        result[f"geometry.{n}"] = _activation_distances(activations[f"resid.{n}"], groups, rows)
    result["states"] = _activation_distances(activations["post_norm"], groups, rows)
    result["top_token"] = activations["top_token"][rows[0] : rows[1]].numpy()
    return result


def _spans(
    group: np.ndarray, rows: tuple[int, int], *, width: int, budget: int
) -> Iterator[tuple[int, int]]:
    """Cut a block's rows in a context: the outputs at the ends of a span's paths fit the budget.

    They are as wide as the model for each row and each prompt of the context, at both read sites
    and once more while their distances are taken.
    """
    first, end = max(rows[0], int(group[0])), min(rows[1], int(group[-1]) + 1)
    size = max(1, budget // (4 * len(group) * width * torch.float32.itemsize))
    for start in range(first, end, size):
        yield start, min(start + size, end)


def _activation_distances(
    activations: Float[Tensor, "prompt d"], groups: Sequence[np.ndarray], rows: tuple[int, int]
) -> Float[np.ndarray, "row n"]:
    """L2 distances between the activations of some prompts and all prompts of their contexts."""
    values = promoted(activations).double().numpy()
    own = np.arange(*rows)
    return np.concatenate(
        [cdist(values[np.intersect1d(own, group)], values[group]) for group in groups]
    )


def _group_rows(
    model: Model,
    prompts: pd.DataFrame,
    resid: Tensor,
    group: np.ndarray,
    *,
    layer: int,
    rows: tuple[int, int],
    steps: int,
    first_pair: int,
    every: int,
    budget: int,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Some rows of a block, those that lie in one context."""
    tokens = _tokens(prompts, group)
    points = promoted(resid[torch.from_numpy(group)]).to(model.device)
    own = np.flatnonzero((group >= rows[0]) & (group < rows[1]))
    prefixes, which = np.unique(tokens[own, :-1], axis=0, return_inverse=True)
    # the last token is overwritten: any will do
    contexts = torch.from_numpy(np.pad(prefixes, ((0, 0), (0, 1))))
    ends = {site: torch.empty(len(prefixes), len(group), points.shape[1]) for site in READ_SITES}
    for part, out in sweep(
        model, layer, contexts, torch.arange(len(contexts)),
        lambda part: points[None].expand(part.stop - part.start, -1, -1), READ_SITES, budget=budget,
    ):  # fmt: skip
        for site in READ_SITES:
            ends[site][part] = promoted(out[site]).cpu()
    row = torch.from_numpy(which.reshape(-1))
    columns = {
        f"directed_{site}": _norm(ends[site][row] - ends[site][row, own][:, None]).numpy()
        for site in READ_SITES
    }
    upper = np.triu_indices(len(group), 1)
    mine = np.isin(upper[0], own)
    a, b = upper[0][mine], upper[1][mine]
    pair = first_pair + np.flatnonzero(mine)
    context = row[np.searchsorted(own, a)]

    def along(some: np.ndarray, steps: int) -> Any:
        """Outputs of some pairs on a grid, batch by batch, ends included."""
        grid = torch.as_tensor(alphas(steps)[1:-1], dtype=points.dtype, device=points.device)
        starts, stops, where = torch.from_numpy(a[some]), torch.from_numpy(b[some]), context[some]
        for part, out in sweep(
            model, layer, contexts, where,
            lambda part: path_points(points[starts[part]], points[stops[part]], grid),
            READ_SITES, budget=budget,
        ):  # fmt: skip
            at = where[part]
            yield {
                site: torch.cat(
                    [ends[site][at, starts[part]][:, None], promoted(out[site]).cpu(),
                     ends[site][at, stops[part]][:, None]], dim=1,
                )
                for site in READ_SITES
            }  # fmt: skip

    moved: dict[str, list[np.ndarray]] = {}
    fine = np.flatnonzero(pair % every == 0)
    if len(a):
        for out in along(np.arange(len(a)), steps):
            for name, value in output_movement(out).items():
                moved.setdefault(name, []).append(value.numpy())
            progress.advance(len(value))
    if len(fine):
        for out in along(fine, (steps - 1) * FINER + 1):
            for name, measured in _grids(out).items():
                moved.setdefault(f"fine_{name}", []).append(measured)
    whole = {name: np.concatenate(values) for name, values in moved.items()}
    return columns | _empty(steps) | whole | {"fine_pair": pair[fine]}


def fine_grids(steps: int) -> list[int]:
    """Steps of the grids on which the finer pairs are measured, from coarse to fine."""
    return [(steps - 1) * FINER // stride + 1 for stride in STRIDES]


def _grids(out: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """`path_measures` on each of the grids: `<measure>_<site>` `[pair, grid]`."""
    arrays: dict[str, list[np.ndarray]] = {}
    for stride in STRIDES:
        moved = output_movement({site: value[:, ::stride] for site, value in out.items()})
        for site in READ_SITES:
            measures = path_measures(
                moved[f"distance_{site}"].numpy(), moved[f"step_{site}"].numpy()
            )
            for name, value in measures.items():
                arrays.setdefault(f"{name}_{site}", []).append(value)
    return {name: np.stack(values, axis=-1) for name, values in arrays.items()}


def _empty(steps: int) -> dict[str, np.ndarray]:
    """The arrays of no pairs."""
    coarse, fine = (
        {site: torch.zeros(0, points, 1) for site in READ_SITES}
        for points in (steps, (steps - 1) * FINER + 1)
    )
    moved = {name: value.numpy() for name, value in output_movement(coarse).items()}
    return moved | {f"fine_{name}": value for name, value in _grids(fine).items()}


def _norm(difference: Float[Tensor, "*row width"]) -> Float[Tensor, "*row"]:
    return torch.linalg.vector_norm(difference, dim=-1)


def _tokens(prompts: pd.DataFrame, group: np.ndarray) -> Int[np.ndarray, "n seq"]:
    some = prompts.iloc[group]
    lengths = some["tokens"].map(len)
    if lengths.nunique() > 1:
        raise UserError(
            f"prompts: {some['text'].iloc[0]!r} and others that are compared with it have "
            f"{lengths.min()} to {lengths.max()} tokens; they must be of one length"
        )
    tokens = np.array(some["tokens"].tolist(), dtype=np.int64)
    _, first, count = np.unique(tokens, axis=0, return_index=True, return_counts=True)
    if (count > 1).any():
        twice = some["text"].iloc[int(first[count > 1][0])]
        raise UserError(f"prompts: duplicate {twice!r}: keep one")
    return tokens


def measure(job: Measuring) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Measure one block of rows of the distances: the arrays and their metadata."""
    entry, layers = job.entry, job.entry["layers"]
    rows = row_blocks(job.prompts, entry["blocks"])[job.part]
    pairs = job.pairs["prompt_a"].between(rows[0], rows[1] - 1).sum()
    log.info(
        "rows %d to %d of %d: %d pairs of %d points between their ends at each of %d layers",
        rows[0], rows[1] - 1, len(job.prompts), pairs, entry["steps"] - 2, len(layers),
    )  # fmt: skip
    arrays = pairwise_arrays(
        job.model,
        job.prompts,
        job.activations,
        rows=rows,
        layers=layers,
        geometry=entry["geometry"],
        steps=entry["steps"],
        fine_pairs=entry["fine_pairs"],
        budget=job.budget,
    )
    return arrays, {
        "dimensions": {
            "directed_*, input": "layer context prompt prompt",
            "distance_*, step_*": "layer context pair step; pairs are the upper triangle's",
            "geometry.N": "context prompt prompt",
            "fine_pair": "pairs, counted through the contexts, measured on finer grids too",
            "fine_*": "layer pair grid",
            "top_token": "context x prompt",
        },
        "fine_grids": fine_grids(entry["steps"]),
        "units": "L2 distance in units of the residual stream at the read site",
    }
