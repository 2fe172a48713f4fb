"""Raw outputs of `depth` -> tables by write layer, and by write and read layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from stable_regions.experiments.interpolation import tables as interpolation
from stable_regions.experiments.interpolation.tables import Raw, block_of, estimate, stacked
from stable_regions.measures.boundaries import count, in_boundary
from stable_regions.measures.paths import block_bootstrap, interval, max_slope


def read_slopes(distance_reads: pd.Series, steps: int) -> Float[np.ndarray, "pair read"]:
    """Max slope of each path read after each layer.

    Parameters
    ----------
    distance_reads
        The column of a raw output, at one write layer.
    steps
        Points on a path.
    """
    distance = stacked(distance_reads)
    return max_slope(distance.reshape(len(distance), -1, steps))


def read_boundaries(step_reads: pd.Series, steps: int) -> Float[np.ndarray, "pair read"]:
    """Number of boundaries of each path read after each layer; arguments as in `read_slopes`."""
    step = stacked(step_reads)
    found = count(in_boundary(step.reshape(-1, steps - 1)))
    return found.reshape(len(step), -1).astype(np.float64)


def rate(medians: Float[np.ndarray, "*n read"]) -> Float[np.ndarray, "*n"]:
    """Growth of the log of the max slope with each layer between writing and reading.

    The least-squares line through (0, 0): read where it was written, a path is straight.

    Parameters
    ----------
    medians
        Median max slopes, read after one layer more each.
    """
    between = np.arange(1, medians.shape[-1] + 1)
    return np.asarray(np.log(medians) @ between / (between @ between))


def explained(medians: Float[np.ndarray, " read"]) -> float:
    """Share of the sum of squares of the logs of the medians that the line of `rate` explains.

    About zero, not about their mean: a path that nothing has sharpened has a log of 0.
    """
    logs = np.log(medians)
    left = logs - rate(medians) * np.arange(1, len(logs) + 1)
    return float(1 - left @ left / (logs @ logs))


def splits(boundaries: Float[np.ndarray, "pair read"]) -> Float[np.ndarray, " some"]:
    """How many boundaries more a path has at the last layer than halfway there.

    Of the paths that have one halfway: what the later layers make of it, and not when it is first
    sharp enough to be counted.
    """
    halfway, end = boundaries[:, (boundaries.shape[1] - 1) // 2], boundaries[:, -1]
    return (end - halfway)[halfway > 0]


def by_layer(raw: Raw) -> Iterator[tuple[Mapping[str, Any], int, pd.DataFrame]]:
    """The rows of each raw output by write layer, with the record of what made them."""
    for table, facts in raw:
        for layer, part in table.groupby("layer"):
            yield facts, int(str(layer)), part


def tabulate_reads(raw: Raw, *, resamples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Max slope and boundaries by read layer; and the rate at which the max slope grows.

    Paths whose ends give one output, read after whatever layer, count nowhere.
    """
    reads, rates = [], []
    for facts, layer, part in by_layer(raw):
        steps = len(facts["alpha"])
        slopes = read_slopes(part["distance_reads"], steps)
        boundaries = read_boundaries(part["step_reads"], steps)
        defined = np.isfinite(slopes).all(axis=1)
        both = np.stack([slopes, boundaries], axis=1)[defined]

        def summary(values: np.ndarray, axis: int) -> np.ndarray:
            medians = np.median(values[..., 0, :], axis)
            means = values[..., 1, :].mean(axis)
            return np.concatenate([medians, means, rate(medians)[..., None]], axis=-1)

        drawn = block_bootstrap(
            both, block=block_of(part), resamples=resamples, seed=seed, statistic=summary
        )
        value, ends = summary(both, 0), [interval(column) for column in drawn.T]
        own = {"model": facts["model"], "layer": layer}
        layers = slopes.shape[1]
        q25, q75 = np.quantile(both[:, 0], [0.25, 0.75], axis=0)
        for n in range(layers):
            reads.append(
                {
                    **own,
                    "read_layer": layer + 1 + n,
                    "between": n + 1,
                    "pairs": len(both),
                    "median": value[n],
                    "q25": q25[n],
                    "q75": q75[n],
                    "ci_low": ends[n][0],
                    "ci_high": ends[n][1],
                    "boundaries": value[layers + n],
                    "boundaries_low": ends[layers + n][0],
                    "boundaries_high": ends[layers + n][1],
                }
            )
        split = estimate(splits(both[:, 1]), np.mean, block=1, resamples=resamples, seed=seed)
        rates.append(
            {
                **own,
                "pairs": len(both),
                "read_layers": layers,
                "rate": value[-1],
                "ci_low": ends[-1][0],
                "ci_high": ends[-1][1],
                "explained": explained(value[:layers]),
                "split_pairs": split["pairs"],
                "split": split["value"],
                "split_low": split["ci_low"],
                "split_high": split["ci_high"],
            }
        )
    return pd.DataFrame(reads), pd.DataFrame(rates)


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """The tables of an interpolation, and those by read layer."""
    reads, rates = tabulate_reads(raw, resamples=resamples, seed=seed)
    tables = interpolation.tabulate(raw, prompts, resamples=resamples, seed=seed)
    return tables | {"reads": reads, "rates": rates}
