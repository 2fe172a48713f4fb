"""Raw outputs of `directions` -> how far each direction leads before the output moves.

The output has moved when its distance from that at the base is a part of the usual distance between
two prompts' outputs: a tenth, or a half. A base from which that does not happen within the lengths
measured counts with the longest of them, and is counted as `never`. A median, a quartile or the end
of an interval that is less than the longest length is then what it would be on longer ways too; one
that equals it says "at least".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from stable_regions.experiments.directions.settings import BASES
from stable_regions.experiments.interpolation.tables import Raw, estimate, spread, stacked
from stable_regions.measures.levels import crossings

DISTANCES = ("post_norm", "jensen_shannon")
PARTS = {"tenth": 0.1, "half": 0.5}
# Which way is compared with which, from one kind of base.
ORDERS = (
    ("isotropic", "covariance"),
    ("covariance", "contrastive"),
    ("isotropic", "contrastive"),
    ("covariance", "difference"),
    ("covariance", "principal"),
)


def reached(
    distance: Float[np.ndarray, "base length"], lengths: Float[np.ndarray, " length"], level: float
) -> tuple[Float[np.ndarray, " base"], int]:
    """The length at which each curve first reaches a level, at most the longest; how many don't."""
    at = crossings(distance, lengths, level)
    return np.minimum(at, lengths[-1]), int(np.isinf(at).sum())


def _by_place(table: pd.DataFrame, meta: Mapping[str, Any]) -> Any:
    """The layers of a raw output: what rows of tables begin with, its rows, usual distances."""
    usual = {one["layer"]: one for one in meta["usual"]}
    for layer, part in table.groupby("layer"):
        yield {"model": meta["model"], "layer": layer}, part, usual[layer]


def reaches(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """How far it takes until the output has moved: median over bases, quartiles, 95 % interval.

    Returns
    -------
    One row a model, write layer, kind of `base`, kind of `direction`, `distance` (of outputs) and
    `part` of the usual distance: `bases`, `median`, `q25`, `q75`, `ci_low`, `ci_high` in units of
    the median distance between two prompts' activations, and `never`.
    """
    rows = []
    for table, meta in raw:
        lengths = np.array(meta["lengths"])
        for place, part, usual in _by_place(table, meta):
            for (base, direction), some in part.groupby(["base", "direction"], sort=False):
                for distance in DISTANCES:
                    curves = stacked(some[f"distance_{distance}"])
                    for name, share in PARTS.items():
                        at, never = reached(curves, lengths, share * usual[distance])
                        summary = spread(at, block=1, resamples=resamples, seed=seed)
                        rows.append(
                            place
                            | {"base": base, "direction": direction, "distance": distance,
                               "part": name, "bases": summary.pop("pairs")}
                            | summary | {"never": never}
                        )  # fmt: skip
    return pd.DataFrame(rows)


def comparisons(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """How many times as far one way leads as another: ratio of the medians, with its interval.

    Both ways begin at the same prompts, which are resampled together. Where neither median is
    within the lengths measured there is no ratio.

    Returns
    -------
    One row a model, write layer, `distance`, `part`, `comparison` and what it is `among`: real over
    random bases in each kind of direction, one kind of direction over another from each kind of
    base; `bases`, `ratio`, `ci_low`, `ci_high`.
    """
    rows = []
    for table, meta in raw:
        lengths = np.array(meta["lengths"])

        def ratio(both: np.ndarray, axis: int, longest: float = lengths[-1]) -> np.ndarray:
            medians = np.median(both, axis)
            quotient = medians[..., 0] / medians[..., 1]
            return np.where(medians.min(axis=-1) >= longest, np.nan, quotient)

        for place, part, usual in _by_place(table, meta):
            curves = {
                key: some.sort_values("prompt") for key, some in part.groupby(["base", "direction"])
            }
            directions = list(part["direction"].unique())
            pairs = [
                ("real over random", name, (BASES[0], name), (BASES[1], name))
                for name in directions
            ]
            pairs += [
                (f"{ours} over {theirs}", base, (base, ours), (base, theirs))
                for base in BASES for ours, theirs in ORDERS
            ]  # fmt: skip
            for distance in DISTANCES:
                for name, share in PARTS.items():
                    at = {
                        key: reached(
                            stacked(some[f"distance_{distance}"]), lengths, share * usual[distance]
                        )[0]
                        for key, some in curves.items()
                    }
                    for comparison, among, *keys in pairs:
                        both = np.stack([at[key] for key in keys], axis=1)
                        known = np.isfinite(ratio(both, 0))
                        numbers = estimate(
                            both if known else both[:0], ratio,
                            block=1, resamples=resamples, seed=seed,
                        )  # fmt: skip
                        rows.append(
                            place
                            | {"distance": distance, "part": name, "comparison": comparison,
                               "among": among, "bases": len(both), "ratio": numbers["value"],
                               "ci_low": numbers["ci_low"], "ci_high": numbers["ci_high"]}
                        )  # fmt: skip
    return pd.DataFrame(rows)


def curves(raw: Raw) -> pd.DataFrame:
    """How far the output has moved by length, as a part of the usual distance.

    Returns
    -------
    One row a model, write layer, kind of `base`, kind of `direction`, `distance` and `length`:
    `bases`, `median`, `q25`, `q75`, `mean`.
    """
    parts = []
    for table, meta in raw:
        for place, part, usual in _by_place(table, meta):
            for (base, direction), some in part.groupby(["base", "direction"], sort=False):
                for distance in DISTANCES:
                    moved = stacked(some[f"distance_{distance}"]) / usual[distance]
                    q25, median, q75 = np.quantile(moved, [0.25, 0.5, 0.75], axis=0)
                    columns = {
                        "base": base, "direction": direction, "distance": distance,
                        "length": meta["lengths"], "bases": len(moved), "median": median,
                        "q25": q25, "q75": q75, "mean": moved.mean(axis=0),
                    }  # fmt: skip
                    parts.append(pd.DataFrame(place | columns))
    return pd.concat(parts, ignore_index=True)


def usual(raw: Raw) -> pd.DataFrame:
    """The usual distances between two prompts: one row a model and write layer."""
    return pd.DataFrame(
        [{"model": meta["model"]} | one for _, meta in raw for one in meta["usual"]]
    )


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """How far each direction leads, what that is beside others, the curves, and the units."""
    sampling = {"resamples": resamples, "seed": seed}
    return {
        "": reaches(raw, **sampling),
        "comparisons": comparisons(raw, **sampling),
        "curves": curves(raw),
        "usual": usual(raw),
    }
