"""How a sample of a raw output is recomputed with the model, and compared.

A number may differ from the recorded one by the sweep's tolerance (`sweep.TOLERANCE`, by dtype) of
the largest value that the quantity has in its file: another batch or another processor gives other
last bits. A count may differ by one more; of the top tokens one in a hundred may be others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from stable_regions.base.files import read_parquet
from stable_regions.experiments.activations import cache
from stable_regions.models.check import TOLERANCE
from stable_regions.models.model import Model

PROMPTS = 7  # they make 21 pairs
TOP_TOKENS = 0.01  # the part of them that may be others


@dataclass(frozen=True)
class Compared:
    """One quantity of a raw file: the largest difference, as a part of what is allowed."""

    quantity: str
    values: int
    worst: float


@dataclass(frozen=True)
class Sampling:
    """What a sample is drawn from: a raw file, its model and prompts; and how many pairs of it."""

    model: Model
    path: Path
    prompts: pd.DataFrame
    rng: np.random.Generator
    pairs: int
    facts: Mapping[str, Any]

    @property
    def tolerance(self) -> float:
        """What a number may differ by, as a part of the largest."""
        return TOLERANCE[self.model.dtype]

    @property
    def budget(self) -> int:
        """Bytes for one batch, as in the job."""
        return self.facts["compute"]["memory_budget_mb"] * 2**20


def compare(
    name: str, old: np.ndarray, new: np.ndarray, scale: float, tolerance: float
) -> Compared:
    """Hold what was recorded against what came out again.

    Parameters
    ----------
    scale
        The largest value that the quantity has in the whole file.
    """
    old, new = np.asarray(old), np.asarray(new)
    if old.shape != new.shape:
        return Compared(name, old.size, np.inf)
    if name.startswith("top_token"):
        return Compared(name, old.size, float((old != new).mean()) / TOP_TOKENS)
    allowed = tolerance * scale
    if np.issubdtype(old.dtype, np.integer):
        allowed = 0.0 if name.startswith(("tokens", "pair")) else max(1.0, allowed)
    differences = np.abs(old.astype(np.float64) - new.astype(np.float64))
    worst = np.where(differences > 0, differences / allowed if allowed else np.inf, 0.0)
    worst = np.where(np.isnan(differences) & ~(np.isnan(old) & np.isnan(new)), np.inf, worst)
    return Compared(name, old.size, float(np.nanmax(worst, initial=0.0)))


def largest(values: np.ndarray) -> float:
    """The largest finite size of a quantity."""
    values = np.abs(np.asarray(values, dtype=np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def some_prompts(prompts: pd.DataFrame, numbers: np.ndarray) -> pd.DataFrame:
    """The prompts of these numbers, numbered anew from 0."""
    small = prompts.set_index("prompt").loc[numbers].reset_index()
    return small.assign(prompt=np.arange(len(small)))


# Of some prompts, pairs and activations, and with `layers` and `budget`: the table anew.
Again = Callable[[pd.DataFrame, pd.DataFrame, Mapping[str, Tensor], dict[str, Any]], pd.DataFrame]


def sample_pairs(job: Sampling, again: Again) -> Iterator[Compared]:
    """Rows of a raw output with a row a pair and write layer."""
    raw, _ = read_parquet(job.path)
    sampled = raw.iloc[np.sort(job.rng.choice(len(raw), min(job.pairs, len(raw)), replace=False))]
    for layer, rows in sampled.groupby("layer"):
        ends = rows[["prompt_a", "prompt_b"]].to_numpy()
        used, index = np.unique(ends, return_inverse=True)
        index = index.reshape(ends.shape)
        few = some_prompts(job.prompts, used)
        drawn_pairs = pd.DataFrame(
            {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
        )
        options: dict[str, Any] = {"layers": [int(str(layer))], "budget": job.budget}
        clean = cache(job.model, list(few["tokens"]), options["layers"], budget=job.budget)
        new = again(few, drawn_pairs, clean, options)
        for name in new.columns.difference(["pair", "prompt_a", "prompt_b", "layer"]):
            if isinstance(rows[name].iloc[0], np.ndarray):
                old_values, new_values = (np.concatenate(list(part[name])) for part in (rows, new))
                scale = max(largest(values) for values in raw[name])
            else:
                old_values, new_values = rows[name].to_numpy(), new[name].to_numpy()
                scale = largest(raw[name].to_numpy())
            yield compare(name, old_values, new_values, scale, job.tolerance)
