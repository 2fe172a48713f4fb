"""The freezing experiment: paths on which attention or MLPs do not respond to where the point lies.

What a module of a later layer adds to the residual stream is held at one value for all points of a
path, whatever the stream that it reads. All else is as on the same path with nothing frozen.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.base.progress import Progress, log
from stable_regions.experiments.freezing.settings import FROZEN, HELD_AT, Condition, conditions
from stable_regions.experiments.interpolation.measure import (
    READ_SITES,
    output_movement,
    path_points,
    path_table,
    promoted,
)
from stable_regions.experiments.measuring import Measuring
from stable_regions.measures.paths import alphas
from stable_regions.models.check import TOLERANCE
from stable_regions.models.model import Model
from stable_regions.models.sweep import batch_rows, full_forward, sweep

# The paths that are run the plain way too, and the points on them.
TRIED_PAIRS, TRIED_STEPS = 2, 4
Outputs = dict[str, Tensor]


def added_sites(layer: int, layers: int) -> list[str]:
    """The sites of what attention and MLPs of all later layers add to the stream."""
    return [f"{site}.{n}" for site in FROZEN.values() for n in range(layer + 1, layers)]


def held_values(added: Mapping[str, Float[Tensor, "pair step d"]]) -> dict[str, dict[str, Tensor]]:
    """What is held, by HELD_AT and site: `[pair, d]`."""
    start = {site: value[:, 0].clone() for site, value in added.items()}
    mean = {site: promoted(value).mean(1) for site, value in added.items()}
    return dict(zip(HELD_AT, (start, mean), strict=True))


def outputs(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    *,
    layer: int,
    steps: int,
    windows: int,
    budget: int,
) -> Iterator[tuple[slice, Iterator[Outputs]]]:
    """Run all points of all paths under each condition, a batch of pairs after the other.

    Where a window begins later than the layer after the write layer, what comes before it is as
    with nothing frozen: its points start from the stream that these have reached there.

    Yields
    ------
    The batch's pairs, and for each of the conditions what READ_SITES hold, `[pair, step, d]`.
    """
    every = conditions(layer, model.n_layers, windows)
    added = added_sites(layer, model.n_layers)
    reached = {f"resid.{one.first - 1}" for one in every if one.first - 1 > layer}
    sites = (*READ_SITES, *added, *sorted(reached))
    grid = torch.as_tensor(alphas(steps), dtype=start.dtype, device=start.device)
    size = batch_rows(model, k=steps, seq=tokens.shape[1], sites=sites, budget=budget)

    def run(
        rows: slice, after: int, points: Tensor, read: Sequence[str], frozen: Mapping[str, Tensor]
    ) -> Outputs:
        own = tokens[rows]
        [(_, out)] = sweep(
            model, after, own, torch.arange(len(own)), points.__getitem__, read,
            budget=budget, frozen=frozen,
        )  # fmt: skip
        return out

    def under(rows: slice) -> Iterator[Outputs]:
        points = path_points(start[rows], end[rows], grid)
        out = run(rows, layer, points, sites, {})
        held = held_values({site: out.pop(site) for site in added})
        at = {layer: points} | {int(site[6:]): out.pop(site) for site in reached}
        yield out
        for one in every[1:]:
            frozen = {site: held[one.held_at][site] for site in one.sites}
            after = one.first - 1
            yield run(rows, after, at[after], READ_SITES, frozen)

    for begin in range(0, len(tokens), size):
        rows = slice(begin, min(begin + size, len(tokens)))
        yield rows, under(rows)


def plain_outputs(
    model: Model,
    prompt: Int[Tensor, " seq"],
    points: Float[Tensor, "step d"],
    layer: int,
    windows: int,
) -> Iterator[Float[Tensor, "step d"]]:
    """Outputs of one path after the norm under each condition: a whole pass a point, by hooks."""
    own = full_forward(model, layer, prompt, points, added_sites(layer, model.n_layers))
    held = held_values({site: value[None] for site, value in own.items()})
    for one in conditions(layer, model.n_layers, windows):
        frozen = {site: held[one.held_at][site][0] for site in one.sites}
        yield full_forward(model, layer, prompt, points, ("post_norm",), frozen)["post_norm"]


def check_freezing(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    *,
    layer: int,
    windows: int,
    budget: int,
) -> float:
    """Compare each condition with plain passes on a few points; the largest relative error.

    Raises
    ------
    UserError
        It is larger than the model's dtype explains.
    """
    tokens, start, end = tokens[:TRIED_PAIRS], start[:TRIED_PAIRS], end[:TRIED_PAIRS]
    swept: list[Tensor] = []
    for _, each in outputs(
        model, tokens, start, end, layer=layer, steps=TRIED_STEPS, windows=windows, budget=budget
    ):
        swept.append(torch.stack([out["post_norm"] for out in each], dim=1))
    grid = torch.as_tensor(alphas(TRIED_STEPS), dtype=start.dtype, device=start.device)
    largest, every = 0.0, conditions(layer, model.n_layers, windows)
    for prompt, points, own in zip(
        tokens, path_points(start, end, grid), torch.cat(swept), strict=True
    ):
        plain = plain_outputs(model, prompt, points, layer, windows)
        for one, ours, reference in zip(every, own, plain, strict=True):
            gap = (ours.double() - reference.double()).norm(dim=-1)
            error = float((gap / reference.double().norm(dim=-1)).max())
            largest = max(largest, error)
            if not error <= TOLERANCE[model.dtype]:
                raise UserError(
                    f"{model.folder}: with {one.frozen} frozen in layers {one.first} to {one.last} "
                    f"the engine {model.engine!r} differs from plain passes by {error:.1e}, more "
                    f"than {TOLERANCE[model.dtype]:.0e}; try the engine 'bridge'"
                )
    return largest


def freeze(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    *,
    layer: int,
    steps: int,
    windows: int,
    budget: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """The output's movement along paths under each condition.

    Parameters
    ----------
    tokens
        The first prompt of each pair: the context `p_A`.
    start, end
        The residual stream after `layer` at the last position of both prompts, A and B.
    budget
        Memory for one batch, in bytes.

    Returns
    -------
    What `interpolation.output_movement` gives, `[pair, condition, step]` by name.
    """
    start, end = promoted(start), promoted(end)
    parts: dict[str, list[np.ndarray]] = {}
    for rows, each in outputs(
        model, tokens, start, end, layer=layer, steps=steps, windows=windows, budget=budget
    ):
        moved: dict[str, list[Tensor]] = {}
        for out in each:
            for name, value in output_movement(out).items():
                moved.setdefault(name, []).append(value)
            if progress:
                progress.advance((rows.stop - rows.start) * steps)
        for name, values in moved.items():
            parts.setdefault(name, []).append(torch.stack(values, dim=1).cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def freezing_table(
    model: Model,
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    layers: Sequence[int],
    steps: int,
    windows: int,
    budget: int,
) -> pd.DataFrame:
    """Freeze on the paths between the prompts of each pair: one row a pair, layer and condition.

    A few points are tried first, under each condition, against plain passes with hooks.

    Parameters
    ----------
    prompts, pairs
        As made by `stable_regions.prompts.draw`.
    activations
        `resid.N` `[prompt, d]` for each layer N.

    Returns
    -------
    The columns of `interpolation.path_table`, those of `Condition`, and those of `freeze` as lists.
    """
    every = {layer: conditions(layer, model.n_layers, windows) for layer in layers}
    count = len(every[layers[0]])
    progress = Progress("freezing", len(pairs) * steps * len(layers) * count, "points")

    def measure(layer: int, tokens: Tensor, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        residual = activations[f"resid.{layer}"].to(model.device)
        ends = promoted(residual[a]), promoted(residual[b])
        error = check_freezing(model, tokens, *ends, layer=layer, windows=windows, budget=budget)
        log.info("freezing differs from plain passes by %.1e at most", error)
        return freeze(
            model, tokens, *ends,
            layer=layer, steps=steps, windows=windows, budget=budget, progress=progress,
        )  # fmt: skip

    wide = path_table(prompts, pairs, activations, layers=layers, measure=measure)
    moved = [name for name in wide if str(name).startswith(("distance", "step"))]
    table = wide.drop(columns=moved).loc[wide.index.repeat(count)].reset_index(drop=True)
    named = [one for layer in wide["layer"] for one in every[layer]]
    table[list(Condition._fields)] = pd.DataFrame(named)
    for name in moved:
        table[name] = list(np.concatenate(wide[name].to_list()))
    return table


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Freeze on the paths of one shard of pairs: the table and its metadata."""
    table = freezing_table(
        job.model,
        job.prompts,
        job.own_pairs,
        job.activations,
        layers=job.entry["layers"],
        steps=job.entry["steps"],
        windows=job.entry["windows"],
        budget=job.budget,
    )
    return table, {
        "alpha": alphas(job.entry["steps"]).tolist(),
        "units": "L2 distance in units of the residual stream at the read site",
    }
