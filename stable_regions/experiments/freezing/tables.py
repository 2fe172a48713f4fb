"""Raw paths with frozen modules -> tidy tables: sharpness by condition, and its change."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from stable_regions.experiments.freezing.settings import Condition
from stable_regions.experiments.interpolation.tables import (
    READ_SITES,
    Raw,
    block_of,
    estimate,
    spread,
    stacked,
)
from stable_regions.measures.boundaries import count, in_boundary
from stable_regions.measures.paths import block_bootstrap, interval, max_slope, relative

CONDITION = list(Condition._fields)


def _parts(raw: Raw) -> Iterator[tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]]:
    """Each condition's rows, and those of the same pairs with nothing frozen, in one order."""
    for table, meta in raw:
        for layer, of_layer in table.groupby("layer"):
            free = of_layer[of_layer["frozen"] == "nothing"]
            for condition, part in of_layer.groupby(CONDITION, sort=False):
                named = dict(zip(CONDITION, condition, strict=True))
                assert list(part["pair"]) == list(free["pair"])
                yield {"model": meta["model"], "layer": layer, **named}, part, free


def removed(medians: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
    """The part of what a max slope is above a straight line's 1 that freezing takes away.

    Of the medians with nothing frozen and with something frozen.
    """
    return np.asarray((medians[..., 0] - medians[..., 1]) / (medians[..., 0] - 1))


def sharpness(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Max slope by model, write layer, read site and condition: median, quartiles, 95 % interval.

    `change` is the median less that of the same pairs with nothing frozen, and `removed` the part
    of what the latter is above a straight line's 1 that is gone; both with intervals over pairs.
    `boundaries` is their mean number on a path, with its interval. Of pairs whose ends give one
    output, frozen or not, there is no max slope: they are `undefined`.
    """
    rows = []
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    for named, part, free in _parts(raw):
        options["block"] = block_of(part)
        for site in READ_SITES:
            both = np.stack(
                [max_slope(stacked(each[f"distance_{site}"])) for each in (free, part)], axis=1
            )
            finite = both[np.isfinite(both).all(axis=1)]
            met = estimate(count(in_boundary(stacked(part[f"step_{site}"]))), np.mean, **options)
            rows.append(
                named
                | {"read_site": site}
                | spread(finite[:, 1], **options)
                | _compared(
                    finite, "change", lambda medians: medians[..., 1] - medians[..., 0], options
                )
                | _compared(finite, "removed", removed, options)
                | {
                    "boundaries": met["value"],
                    "boundaries_low": met["ci_low"],
                    "boundaries_high": met["ci_high"],
                    "undefined": len(both) - len(finite),
                }
            )
    return pd.DataFrame(rows)


def _compared(
    slopes: np.ndarray,
    name: str,
    statistic: Callable[[np.ndarray], np.ndarray],
    options: dict[str, Any],
) -> dict[str, float]:
    """A statistic of both columns' medians, with its interval; NaN of no pairs."""
    names = (name, f"{name}_low", f"{name}_high")
    if len(slopes) == 0:
        return dict.fromkeys(names, np.nan)
    of_pairs = lambda values, axis: statistic(np.median(values, axis))  # noqa: E731
    ends = interval(block_bootstrap(slopes, statistic=of_pairs, **options))
    return dict(zip(names, (float(of_pairs(slopes, 0)), *ends), strict=True))


def curves(raw: Raw) -> pd.DataFrame:
    """Relative output distance by alpha and condition, read after the norm: quartiles."""
    alpha = {meta["model"]: meta["alpha"] for _, meta in raw}
    parts = []
    for named, part, _ in _parts(raw):
        curve = relative(stacked(part["distance_post_norm"]))
        curve = curve[np.isfinite(curve).all(axis=1)]
        q25, median, q75 = np.quantile(curve, [0.25, 0.5, 0.75], axis=0)
        of_alpha = {"alpha": alpha[named["model"]], "median": median, "q25": q25, "q75": q75}
        parts.append(pd.DataFrame({**named, "pairs": len(curve), **of_alpha}))
    return pd.concat(parts, ignore_index=True)


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Sharpness by condition, and median curves."""
    return {"": sharpness(raw, resamples=resamples, seed=seed), "curves": curves(raw)}
