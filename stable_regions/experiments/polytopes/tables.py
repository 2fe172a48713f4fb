"""Raw counts of sign changes -> tidy tables: gates by layer, boundaries, and how they compare."""

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
from stable_regions.measures.boundaries import DEFINITIONS, count, in_boundary
from stable_regions.measures.paths import max_slope


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
    - `density`: sign changes a step in boundaries over those a step outside (paths with both).
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
                    for measure, values in _compared(mismatch, passed, last, mask):
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
    mismatch: np.ndarray, passed: np.ndarray, last: np.ndarray, mask: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    number, regions = count(mask), count(~mask)
    some, stay = number > 0, regions > 0
    both = some & stay
    inside = (passed * mask)[both].sum(axis=1) / mask[both].sum(axis=1)
    outside = (passed * ~mask)[both].sum(axis=1) / (~mask[both]).sum(axis=1)
    return [
        ("one_boundary_mismatch", mismatch[number == 1]),
        ("one_boundary_last", last[number == 1].sum(axis=1)),
        ("per_boundary", passed[some].sum(axis=1) / number[some]),
        ("per_boundary_last", last[some].sum(axis=1) / number[some]),
        ("per_region", (passed * ~mask)[stay].sum(axis=1) / regions[stay]),
        ("density", inside[outside > 0] / outside[outside > 0]),
    ]


def pairs(raw: Raw) -> pd.DataFrame:
    """One row a pair: mismatches and changes in the last layer and in all, boundaries, max slope.

    Boundaries as in `boundaries.MAIN`, read after the norm, as the max slope is.
    """
    parts = []
    for table, meta in raw:
        part = table[["pair", "layer"]].copy()
        part.insert(0, "model", meta["model"])
        for measure in ("mismatch", "passed"):
            counts = stacked(table[measure])
            part[f"{measure}_last"] = counts[:, -1].astype(int)
            part[f"{measure}_all"] = counts.sum(axis=1).astype(int)
        part["boundaries"] = count(in_boundary(stacked(table["step_post_norm"])))
        part["max_slope"] = max_slope(stacked(table["distance_post_norm"]))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Gates by layer, boundaries, both compared, and one row a pair."""
    sampling = {"resamples": resamples, "seed": seed}
    return {
        "gates": gates(raw, **sampling),
        "boundaries": boundaries(raw, **sampling),
        "comparison": comparison(raw, **sampling),
        "pairs": pairs(raw),
    }
