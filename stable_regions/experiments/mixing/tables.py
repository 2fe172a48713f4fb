"""Raw outputs of `mixing` -> the exponent of the L^p norm by which two directions add up.

In the plane of two directions u and v the output has moved by one amount on a curve around the
base. It is compared with `(x / a)^p + (y / b)^p = 1`, whose a and b are the lengths in u and in v.
An output that moves linearly, or quadratically, with the activation gives an ellipse: p is 2 if u
and v move it in orthogonal directions, more or less than 2 if in opposed or in like ones. As the
signs of u and of v are drawn at random, the median over pairs is 2 all the same.

A mixture that does not move the output that far within the lengths measured counts with the longest
of them; where this happens in u or v alone, there is no p.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stable_regions.experiments.directions.tables import PARTS
from stable_regions.experiments.interpolation.tables import Raw, spread, stacked
from stable_regions.measures.levels import crossings, exponents, radii


def fits(raw: Raw) -> pd.DataFrame:
    """One row a model, write layer, kind of both directions, part and base.

    Returns
    -------
    With `first` and `last`, the lengths at 0 and at 90 degrees, `exponent` (missing where one of
    them is), `longest` (mixtures that count with the longest length), and `by_angle`, a list: the
    length at each angle over that of p = 2.
    """
    parts = []
    for table, meta in raw:
        lengths = np.array(meta["lengths"])
        for (layer, direction), some in table.groupby(["layer", "direction"], sort=False):
            some = some.sort_values(["prompt", "angle"])
            prompts = some["prompt"].unique()
            angle = np.radians(np.sort(some["angle"].unique()))
            curves = stacked(some["distance_post_norm"]).reshape(len(prompts), len(angle), -1)
            for name, share in PARTS.items():
                at = crossings(curves, lengths, share * meta["usual"])
                bounded = np.minimum(at, lengths[-1])
                bounded[:, [0, -1]] = at[:, [0, -1]]
                known = np.isfinite(at[:, [0, -1]]).all(axis=1)
                by_angle = np.full(at.shape, np.nan)
                by_angle[known] = bounded[known] / radii(angle, at[known, 0], at[known, -1], 2)
                parts.append(
                    pd.DataFrame(
                        {
                            "model": meta["model"],
                            "layer": layer,
                            "direction": direction,
                            "part": name,
                            "prompt": prompts,
                            "first": np.where(known, at[:, 0], np.nan),
                            "last": np.where(known, at[:, -1], np.nan),
                            "exponent": exponents(bounded, angle),
                            "longest": np.isinf(at[:, 1:-1]).sum(axis=1),
                            "by_angle": list(by_angle),
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


KEYS = ["model", "layer", "direction", "part"]


def summary(table: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """The exponent: median over bases, quartiles, 95 % interval.

    Parameters
    ----------
    table
        As made by `fits`.

    Returns
    -------
    One row a model, write layer, kind of both directions and part: `bases`, `median`, `q25`, `q75`,
    `ci_low`, `ci_high`; `never`, bases without an exponent, and `bounded`, those of which a mixture
    counts with the longest length, so that the exponent is at least what it is.
    """
    rows = []
    for key, some in table.groupby(KEYS, sort=False):
        known = some[some["exponent"].notna()]
        numbers = spread(known["exponent"].to_numpy(), block=1, resamples=resamples, seed=seed)
        rows.append(
            dict(zip(KEYS, key, strict=True)) | {"bases": numbers.pop("pairs")} | numbers
            | {"never": len(some) - len(known), "bounded": int((known["longest"] > 0).sum())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def angles(table: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """The length at each angle over that of p = 2: median over bases, quartiles, 95 % interval.

    Parameters
    ----------
    table
        As made by `fits`.

    Returns
    -------
    One row a model, write layer, kind of both directions, part and `angle` in degrees.
    """
    rows = []
    for key, some in table.groupby(KEYS, sort=False):
        known = some.loc[some["exponent"].notna(), "by_angle"]
        if not len(known):
            continue
        by_angle = stacked(known)
        for angle, values in zip(np.linspace(0, 90, by_angle.shape[1]), by_angle.T, strict=True):
            numbers = spread(values, block=1, resamples=resamples, seed=seed)
            rows.append(
                dict(zip(KEYS, key, strict=True)) | {"angle": angle}
                | {"bases": numbers.pop("pairs")} | numbers
            )  # fmt: skip
    names = ["angle", "bases", "median", "q25", "q75", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=[*KEYS, *names])


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """The exponents, those of single bases, and the lengths by angle."""
    table = fits(raw)
    return {
        "": summary(table, resamples=resamples, seed=seed),
        "fits": table.drop(columns="by_angle"),
        "angles": angles(table, resamples=resamples, seed=seed),
    }
