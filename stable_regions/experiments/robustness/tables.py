"""How far a choice moves the sharpness: raw outputs -> a tidy table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from stable_regions.base.errors import UserError
from stable_regions.experiments.interpolation.tables import BLOCK, Raw
from stable_regions.measures.paths import block_bootstrap, interval, shared_prompts, slopes

# Other prompts make other pairs: there is nothing to pair them with.
UNPAIRED = ("corpus",)
STEPS = [
    "model", "steps", "pairs", "points", "low", "error_median", "error_95", "error_max",
    "place_median", "place_95", "place_max",
]  # fmt: skip


def effects(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Max slope and pace by choice and value, and the slope's change against the default.

    A path that goes out of its way moves the output more than from end to end, and its max slope
    counts that in. Its pace does not: it is the largest step of the output distance over the mean
    size of its steps, which on a path that only rises is the max slope.

    The change is the difference of the two medians. For a choice on the same pairs both medians
    are of the same resampled pairs, so that what a pair has of its own cancels; for a corpus the
    two are resampled apart. Pairs that share prompts are resampled in blocks.

    Returns
    -------
    One row a model, choice and value, in the order of the raw rows: `pairs`, `median`, `q25`,
    `q75`, `ci_low`, `ci_high`; `pace`, `pace_low`, `pace_high` (its median, and the interval);
    `change`, `change_low`, `change_high` (missing for the default), `paired`; `undefined` (pairs
    whose path ends in the output it began with); `off_activations` (median; of the straight path
    and of other paths).
    """

    def medians(
        values: Float[np.ndarray, " pair"], block: int, stream: int = seed
    ) -> Float[np.ndarray, " resample"]:
        return block_bootstrap(values, block=block, resamples=resamples, seed=stream)

    rows = []
    for table, meta in raw:
        parts = dict(list(table.groupby(["choice", "value"], sort=False)))
        sharpness = {key: steepest(part)[0] for key, part in parts.items()}
        default = sharpness["default", "default"]
        for key, part in parts.items():
            choice, value = key
            block = BLOCK if shared_prompts(part[["prompt_a", "prompt_b"]].to_numpy()) else 1
            defined = np.isfinite(sharpness[key])
            finite = sharpness[key][defined]
            if not len(finite):
                raise UserError(f"{meta['model']}: {choice} {value}: no pair has a max slope")
            low, high = interval(medians(finite, block))
            q25, median, q75 = np.quantile(finite, [0.25, 0.5, 0.75])
            paces = pace(part)
            paces = paces[np.isfinite(paces)]
            pace_low, pace_high = interval(medians(paces, block))
            row = {
                "model": meta["model"],
                "choice": choice,
                "value": value,
                "pairs": len(finite),
                "median": median,
                "q25": q25,
                "q75": q75,
                "ci_low": low,
                "ci_high": high,
                "pace": np.median(paces),
                "pace_low": pace_low,
                "pace_high": pace_high,
                "paired": choice not in UNPAIRED,
                "undefined": len(defined) - len(finite),
                "off_activations": part["off_activations"].median(),
            }
            if choice != "default":
                if row["paired"]:
                    both = defined & np.isfinite(default)
                    ours, theirs = sharpness[key][both], default[both]
                    # the same seed draws the same pairs for both
                    changes = medians(ours, block) - medians(theirs, block)
                else:
                    ours, theirs = finite, default[np.isfinite(default)]
                    changes = medians(ours, block) - medians(theirs, block, seed + 1)
                row["change"] = np.median(ours) - np.median(theirs)
                row["change_low"], row["change_high"] = interval(changes)
            rows.append(row)
    return pd.DataFrame(rows)


def steps(raw: Raw) -> pd.DataFrame:
    """How far each number of steps is from the finest grid, pair by pair, and what it takes.

    The place of a path's steepest rise is the middle of its steepest cell.

    Returns
    -------
    One row a model and number of steps, the default's among them: `pairs`, `points` (evaluated on a
    path, mean), `low` (median of 1 - max slope over that of the finest grid), `error_median`,
    `error_95`, `error_max` (quantiles of that difference's size), and `place_median`, `place_95`,
    `place_max` (of the distance of the two places, as a share of the path). Empty where no grid
    is finer than the default.
    """
    rows = []
    for table, meta in raw:
        chosen = table["choice"].isin(["default", "steps"])
        parts = dict(list(table[chosen].groupby(["choice", "value"], sort=False)))
        counts = {key: part["distance"].map(len) for key, part in parts.items()}
        even = [key for key in parts if not str(key[1]).startswith("adaptive")]
        finest = max(even, key=lambda key: counts[key].iloc[0])
        if finest[0] == "default":
            continue
        slope, place = steepest(parts[finest])
        for key, part in parts.items():
            ours, where = steepest(part)
            both = np.isfinite(ours) & np.isfinite(slope)
            low, away = 1 - ours[both] / slope[both], np.abs(where - place)[both]
            rows.append(
                {
                    "model": meta["model"],
                    "steps": key[1] if key[0] == "steps" else str(counts[key].iloc[0]),
                    "pairs": int(both.sum()),
                    "points": counts[key].mean(),
                    "low": np.median(low),
                    **_quantiles("error", np.abs(low)),
                    **_quantiles("place", away),
                }
            )
    return pd.DataFrame(rows, columns=STEPS)


def steepest(
    table: pd.DataFrame,
) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """Max slope of each path, and the middle of the cell where it is; NaN where ends agree."""
    peaks, places = [], []
    for alpha, distance in zip(table["alpha"], table["distance"], strict=True):
        slope = slopes(np.asarray(distance), np.asarray(alpha))
        cell = int(slope.argmax())
        peaks.append(slope[cell])
        places.append((alpha[cell] + alpha[cell + 1]) / 2)
    return np.array(peaks), np.array(places)


def pace(table: pd.DataFrame) -> Float[np.ndarray, " pair"]:
    """Each path's steepest rise of the output distance, over the mean size of its slopes."""
    paces = []
    for alpha, distance in zip(table["alpha"], table["distance"], strict=True):
        way = np.diff(np.asarray(distance, dtype=np.float64))
        most = (way / np.diff(alpha)).max()
        paces.append(most / np.abs(way).sum() if np.any(way) else np.nan)
    return np.array(paces)


def _quantiles(name: str, values: Float[np.ndarray, " pair"]) -> dict[str, float]:
    quantiles = np.quantile(values, [0.5, 0.95, 1])
    return dict(zip([f"{name}_median", f"{name}_95", f"{name}_max"], quantiles, strict=True))


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Max slopes with their change against the default, and errors of numbers of steps."""
    return {"": effects(raw, resamples=resamples, seed=seed), "steps": steps(raw)}
