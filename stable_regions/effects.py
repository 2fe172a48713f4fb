"""How far a choice moves the sharpness: raw outputs of `stable_regions.choices` -> a tidy table."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from stable_regions.errors import UserError
from stable_regions.measures import block_bootstrap, interval, max_slope, shared_prompts
from stable_regions.summaries import BLOCK, Raw, stacked

# Other prompts make other pairs: there is nothing to pair them with.
UNPAIRED = ("corpus",)


def effects(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """Max slope by choice and value, and its change against the default.

    The change is the difference of the two medians. For a choice on the same pairs both medians
    are of the same resampled pairs, so that what a pair has of its own cancels; for a corpus the
    two are resampled apart. Pairs that share prompts are resampled in blocks.

    Returns
    -------
    One row a model, choice and value, in the order of the raw rows: `pairs`, `median`, `q25`,
    `q75`, `ci_low`, `ci_high`; `change`, `change_low`, `change_high` (missing for the default),
    `paired`; `undefined` (pairs whose path ends in the output it began with).
    """

    def medians(
        slopes: Float[np.ndarray, " pair"], block: int, stream: int = seed
    ) -> Float[np.ndarray, " resample"]:
        return block_bootstrap(slopes, block=block, resamples=resamples, seed=stream)

    rows = []
    for table, meta in raw:
        parts = dict(list(table.groupby(["choice", "value"], sort=False)))
        slopes = {key: max_slope(stacked(part["distance"])) for key, part in parts.items()}
        default = slopes["default", "default"]
        for key, part in parts.items():
            choice, value = key
            block = BLOCK if shared_prompts(part[["prompt_a", "prompt_b"]].to_numpy()) else 1
            defined = np.isfinite(slopes[key])
            found = slopes[key][defined]
            if not len(found):
                raise UserError(f"{meta['model']}: {choice} {value}: no pair has a max slope")
            low, high = interval(medians(found, block))
            q25, median, q75 = np.quantile(found, [0.25, 0.5, 0.75])
            row = {
                "model": meta["model"],
                "choice": choice,
                "value": value,
                "pairs": len(found),
                "median": median,
                "q25": q25,
                "q75": q75,
                "ci_low": low,
                "ci_high": high,
                "paired": choice not in UNPAIRED,
                "undefined": len(defined) - len(found),
            }
            if choice != "default":
                if row["paired"]:
                    both = defined & np.isfinite(default)
                    ours, theirs = slopes[key][both], default[both]
                    # the same seed draws the same pairs for both
                    changes = medians(ours, block) - medians(theirs, block)
                else:
                    ours, theirs = found, default[np.isfinite(default)]
                    changes = medians(ours, block) - medians(theirs, block, seed + 1)
                row["change"] = np.median(ours) - np.median(theirs)
                row["change_low"], row["change_high"] = interval(changes)
            rows.append(row)
    return pd.DataFrame(rows)
