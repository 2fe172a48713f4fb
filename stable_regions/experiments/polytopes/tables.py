"""Raw counts of sign changes -> tidy tables: gates by layer, boundaries, and how they compare."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from stable_regions.experiments.interpolation.tables import (
    READ_SITES,
    Raw,
    block_of,
    estimate,
    spread,
    stacked,
)
from stable_regions.measures.boundaries import DEFINITIONS, count, in_boundary, speed
from stable_regions.measures.paths import max_slope

# The share of a path's steps that are its fastest: where the output makes its largest steps.
FASTEST = 0.1


def gates(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Sign changes by model, write layer, measure and read layer: median, quartiles, interval.

    `measure` is `mismatch` (the ends alone) or `passed` (from point to point); `read_layer` is the
    layer's number, or `all` for the sum over them. `gated` says whether the MLP has a gate; where
    it has none, the sign is that of its only pre-activation. `gates` is how many there are.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            block = block_of(part)
            for measure in ("mismatch", "passed"):
                counts = stacked(part[measure])
                names = [str(n) for n in range(meta["layers"] - counts.shape[1], meta["layers"])]
                columns = [*zip(names, counts.T, strict=True), ("all", counts.sum(axis=1))]
                for name, values in columns:
                    rows.append(
                        {
                            "model": meta["model"],
                            "gated": meta["gated"],
                            "layer": layer,
                            "measure": measure,
                            "read_layer": name,
                            "gates": meta["gates"] * (len(names) if name == "all" else 1),
                            **spread(values, block=block, resamples=resamples, seed=seed),
                        }
                    )
    return pd.DataFrame(rows)


def boundaries(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Region boundaries on a path, by definition: their mean number, and what it is made of.

    `none`, `one` and `more` are the shares of paths with so many, `steps` the share of a path that
    is in a boundary, `still` the number of paths on which the output never moves.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            block = block_of(part)
            for site in READ_SITES:
                steps, distance = stacked(part[f"step_{site}"]), stacked(part[f"distance_{site}"])
                for name, definition in DEFINITIONS.items():
                    mask = definition(steps, distance)
                    number = count(mask)
                    rows.append(
                        {
                            "model": meta["model"],
                            "layer": layer,
                            "read_site": site,
                            "definition": name,
                            **estimate(
                                number, np.mean, block=block, resamples=resamples, seed=seed
                            ),
                            "none": (number == 0).mean(),
                            "one": (number == 1).mean(),
                            "more": (number > 1).mean(),
                            "steps": mask.mean(),
                            "still": int((steps.sum(axis=1) == 0).sum()),
                        }
                    )
    return pd.DataFrame(rows).rename(columns={"value": "mean"})


def comparison(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Sign changes against boundaries, by definition of a boundary: median over pairs.

    `measure` is one of

    - `one_boundary_mismatch`, `one_boundary_last`: on paths with exactly one boundary, gates of the
      last layer whose sign differs between the ends, and sign changes in it on the way;
    - `per_boundary`: sign changes on the path, in all layers after the write layer, for each of its
      boundaries (paths with one or more); `per_boundary_last`: those in the last layer;
    - `per_region`: sign changes outside of boundaries, for each stretch outside (all paths);
    - `density`: sign changes a step in boundaries over those a step outside (paths with both);
      `movement`: the same of the output's way.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            block = block_of(part)
            passed, last = stacked(part["passed_by_step"]), stacked(part["passed_by_step_last"])
            mismatch = stacked(part["mismatch"])[:, -1]
            for site in READ_SITES:
                steps, distance = stacked(part[f"step_{site}"]), stacked(part[f"distance_{site}"])
                for name, definition in DEFINITIONS.items():
                    mask = definition(steps, distance)
                    for measure, values in _compared(mismatch, passed, last, steps, mask):
                        rows.append(
                            {
                                "model": meta["model"],
                                "layer": layer,
                                "read_site": site,
                                "definition": name,
                                "measure": measure,
                                **spread(values, block=block, resamples=resamples, seed=seed),
                            }
                        )
    return pd.DataFrame(rows)


def _compared(
    mismatch: np.ndarray,
    passed: np.ndarray,
    last: np.ndarray,
    steps: np.ndarray,
    mask: np.ndarray,
) -> list[tuple[str, np.ndarray]]:
    number, regions = count(mask), count(~mask)
    some, stay = number > 0, regions > 0
    both = some & stay
    density, movement = (
        inside_over_outside(values[both], mask[both]) for values in (passed, steps)
    )
    return [
        ("one_boundary_mismatch", mismatch[number == 1]),
        ("one_boundary_last", last[number == 1].sum(axis=1)),
        ("per_boundary", passed[some].sum(axis=1) / number[some]),
        ("per_boundary_last", last[some].sum(axis=1) / number[some]),
        ("per_region", (passed * ~mask)[stay].sum(axis=1) / regions[stay]),
        ("density", density[np.isfinite(density)]),
        ("movement", movement[np.isfinite(movement)]),
    ]


def inside_over_outside(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over a path's steps in a mask over that outside; NaN where nothing is outside."""
    inside = (values * mask).sum(axis=1) / mask.sum(axis=1)
    outside = (values * ~mask).sum(axis=1) / (~mask).sum(axis=1)
    return np.divide(inside, outside, out=np.full(len(values), np.nan), where=outside > 0)


def fastest(steps: np.ndarray) -> np.ndarray:
    """Which steps of each path are the `FASTEST` share of it: the first ones of those that tie.

    Every path has as many, whether it has a boundary or not, so that a model without boundaries can
    be compared with one that has them.
    """
    number = math.ceil(FASTEST * steps.shape[1])
    rank = np.argsort(np.argsort(-steps, axis=1, kind="stable"), axis=1)
    return rank < number


def bunching(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """How much more happens in the fastest steps of a path than in the others: median over pairs.

    `measure` is `gates` (sign changes a step in all layers after the write layer) or `output` (its
    way a step); the value of a path is the mean over its `FASTEST` steps over that of the others.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            block = block_of(part)
            passed = stacked(part["passed_by_step"])
            for site in READ_SITES:
                steps = stacked(part[f"step_{site}"])
                for measure, values in (("gates", passed), ("output", steps)):
                    ratio = inside_over_outside(values, fastest(steps))
                    rows.append(
                        {
                            "model": meta["model"],
                            "layer": layer,
                            "read_site": site,
                            "measure": measure,
                            **spread(
                                ratio[np.isfinite(ratio)],
                                block=block,
                                resamples=resamples,
                                seed=seed,
                            ),
                        }
                    )
    return pd.DataFrame(rows)


def profile(raw: Raw) -> pd.DataFrame:
    """Sign changes and the output's way around the fastest step, over the path's mean.

    `away` counts steps from the fastest one (after the norm); `gates` and `output` are medians over
    the `pairs` whose path reaches so far, with their quartiles.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            pace = speed(stacked(part["step_post_norm"]))
            changes = speed(stacked(part["passed_by_step"]))
            kept = np.isfinite(pace).all(axis=1) & np.isfinite(changes).all(axis=1)
            pace, changes = pace[kept], changes[kept]
            if not len(pace):
                continue
            width = pace.shape[1]
            away = np.arange(width) - pace.argmax(axis=1)[:, None]
            for place in range(-(width // 2), width // 2 + 1):
                at = away == place
                row = {"model": meta["model"], "layer": layer, "away": place, "pairs": at.sum()}
                for measure, values in (("gates", changes), ("output", pace)):
                    quartiles = (
                        np.quantile(values[at], [0.25, 0.5, 0.75]) if at.any() else [np.nan] * 3
                    )
                    names = (f"{measure}_q25", measure, f"{measure}_q75")
                    row |= dict(zip(names, quartiles, strict=True))
                rows.append(row)
    return pd.DataFrame(rows)


def pairs(raw: Raw) -> pd.DataFrame:
    """One row a pair: mismatches and changes in the last layer and in all, boundaries, max slope.

    Boundaries as in `boundaries.MAIN`, read after the norm, as the max slope is. `bunching` is that
    of the gates, as the function of this name has it.
    """
    parts = []
    for table, meta in raw:
        part = table[["pair", "layer", "prompt_a", "prompt_b"]].copy()
        part.insert(0, "model", meta["model"])
        for measure in ("mismatch", "passed"):
            counts = stacked(table[measure])
            part[f"{measure}_last"] = counts[:, -1].astype(int)
            part[f"{measure}_all"] = counts.sum(axis=1).astype(int)
        part["boundaries"] = count(in_boundary(stacked(table["step_post_norm"])))
        part["max_slope"] = max_slope(stacked(table["distance_post_norm"]))
        part["bunching"] = inside_over_outside(
            stacked(table["passed_by_step"]), fastest(stacked(table["step_post_norm"]))
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Gates by layer, boundaries, both compared, gates where the output is fast; a row a pair."""
    sampling = {"resamples": resamples, "seed": seed}
    return {
        "gates": gates(raw, **sampling),
        "boundaries": boundaries(raw, **sampling),
        "comparison": comparison(raw, **sampling),
        "bunching": bunching(raw, **sampling),
        "profile": profile(raw),
        "pairs": pairs(raw),
    }
