"""Raw outputs -> tidy tables: one row per number, with its interval and its count."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stable_regions.measures.paths import (
    Statistic,
    block_bootstrap,
    interval,
    max_slope,
    normalised_logit_difference,
    relative,
    shared_prompts,
)

# Pairs that share prompts are resampled in blocks of this many.
BLOCK = 10
READ_SITES = ("post_norm", "pre_norm")
Raw = Sequence[tuple[pd.DataFrame, Mapping[str, Any]]]


def stacked(column: pd.Series) -> np.ndarray:
    """A column of equally long lists as an array `[row, step]`."""
    return np.stack(list(column)).astype(np.float64)


def block_of(table: pd.DataFrame) -> int:
    """Number of consecutive pairs that are resampled together: one, unless pairs share prompts."""
    return BLOCK if shared_prompts(table[["prompt_a", "prompt_b"]].to_numpy()) else 1


def spread(values: np.ndarray, *, block: int, resamples: int, seed: int) -> dict[str, float]:
    """Count, median, quartiles and the median's 95 % interval of finite values; NaN of none."""
    if len(values) == 0:
        return {"pairs": 0} | dict.fromkeys(["median", "q25", "q75", "ci_low", "ci_high"], np.nan)
    low, high = interval(block_bootstrap(values, block=block, resamples=resamples, seed=seed))
    q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "pairs": len(values), "median": median, "q25": q25, "q75": q75,
        "ci_low": low, "ci_high": high,
    }  # fmt: skip


def estimate(
    values: np.ndarray,
    statistic: Statistic,
    *,
    block: int,
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """Count, `value` of the statistic and its 95 % interval, of finite values; NaN of none."""
    if len(values) == 0:
        return {"pairs": 0, "value": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    low, high = interval(
        block_bootstrap(values, block=block, resamples=resamples, seed=seed, statistic=statistic)
    )
    return {
        "pairs": len(values), "value": float(statistic(values, 0)), "ci_low": low, "ci_high": high,
    }  # fmt: skip


def sharpness(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Max slope by model, write layer and read site: median, quartiles, 95 % interval.

    The interval is a bootstrap over pairs, in blocks where pairs share prompts. `undefined`
    counts the pairs whose two ends give the same output: they have no relative distance.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            block = block_of(part)
            for site in READ_SITES:
                slopes = max_slope(stacked(part[f"distance_{site}"]))
                finite = slopes[np.isfinite(slopes)]
                rows.append(
                    {
                        "model": meta["model"],
                        "parameters": meta["parameters"],
                        "layer": layer,
                        "read_site": site,
                        **spread(finite, block=block, resamples=resamples, seed=seed),
                        "undefined": len(slopes) - len(finite),
                    }
                )
    return pd.DataFrame(rows)


def curves(raw: Raw) -> pd.DataFrame:
    """Relative output distance by alpha: median and quartiles over pairs."""
    parts = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            for site in READ_SITES:
                curve = relative(stacked(part[f"distance_{site}"]))
                curve = curve[np.isfinite(curve).all(axis=1)]
                q25, median, q75 = np.quantile(curve, [0.25, 0.5, 0.75], axis=0)
                parts.append(
                    pd.DataFrame(
                        {
                            "model": meta["model"],
                            "layer": layer,
                            "read_site": site,
                            "pairs": len(curve),
                            "alpha": meta["alpha"],
                            "median": median,
                            "q25": q25,
                            "q75": q75,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def pairs(raw: Raw) -> pd.DataFrame:
    """One row a pair: its tokens at the last position, distances at the end, max slopes."""
    parts = []
    for table, meta in raw:
        part = table[["pair", "layer", "prompt_a", "prompt_b", "input_distance"]].copy()
        part.insert(0, "model", meta["model"])
        for side in "ab":
            part[f"last_token_{side}"] = [int(ids[-1]) for ids in table[f"tokens_{side}"]]
        for site in READ_SITES:
            distance = stacked(table[f"distance_{site}"])
            part[f"distance_{site}"] = distance[:, -1]
            part[f"max_slope_{site}"] = max_slope(distance)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def paths(raw: Raw) -> pd.DataFrame:
    """Every point of every path: for small sets of pairs that are drawn one by one."""
    parts = []
    for table, meta in raw:
        steps = len(meta["alpha"])
        part = pd.DataFrame(
            {
                "model": meta["model"],
                "pair": np.repeat(table["pair"].to_numpy(), steps),
                "layer": np.repeat(table["layer"].to_numpy(), steps),
                "alpha": np.tile(meta["alpha"], len(table)),
            }
        )
        for site in READ_SITES:
            part[f"relative_{site}"] = relative(stacked(table[f"distance_{site}"])).ravel()
        if "logit_difference" in table:
            difference = stacked(table["logit_difference"])
            part["normalised_logit_difference"] = normalised_logit_difference(difference).ravel()
            part["top_token"] = np.concatenate(table["top_token"].to_numpy())
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Sharpness, median curves, and one row a pair."""
    return {
        "": sharpness(raw, resamples=resamples, seed=seed),
        "curves": curves(raw),
        "pairs": pairs(raw),
    }


def lay_out(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Every point of every path."""
    return {"paths": paths(raw)}
