"""A sample of a raw output of `robustness`, recomputed."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stable_regions.base.files import read_parquet
from stable_regions.experiments.activations import cache
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.experiments.robustness.measure import DEFAULT, varied_table
from stable_regions.experiments.sampling import (
    PROMPTS,
    Compared,
    Sampling,
    compare,
    largest,
    some_prompts,
)

# They take all pairs at once, other prompts, or another dtype.
OF_ALL = "through_activations"
NOT_SAMPLED = "targets, paths through activations, adaptive steps, corpora and dtypes"


def sample(job: Sampling) -> Iterator[Compared]:
    """A few pairs under every choice that depends on nothing but the pair."""
    raw, _ = read_parquet(job.path)
    entry = job.facts["experiment"]
    plain = raw[(raw["choice"] == DEFAULT[0]) & (raw["value"] == DEFAULT[1])]
    rows = plain.iloc[np.sort(job.rng.choice(len(plain), min(PROMPTS, len(plain)), replace=False))]
    ends = rows[["prompt_a", "prompt_b"]].to_numpy()
    used, index = np.unique(ends, return_inverse=True)
    index = index.reshape(ends.shape)
    few = some_prompts(job.prompts, used)
    again = pd.DataFrame(
        {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
    )
    [layer] = entry["layers"]
    clean = cache(job.model, list(few["tokens"]), [layer], budget=job.budget)
    new = varied_table(
        job.model, few, again, clean[f"resid.{layer}"], layer=layer, steps=entry["steps"],
        read_sites=entry["read_sites"], distances=entry["distances"], grids=entry["grids"],
        adaptive=[], paths=[path for path in entry["paths"] if path != OF_ALL], targets=[],
        seed=entry["seed"], budget=job.budget,
    )  # fmt: skip
    for (choice, value), part in new.groupby(["choice", "value"], sort=False):
        whole = raw[(raw["choice"] == choice) & (raw["value"] == value)].set_index("pair")
        old = stacked(whole.loc[list(part["pair"]), "distance"])
        yield compare(
            f"distance ({choice}: {value})", old, stacked(part["distance"]),
            largest(stacked(whole["distance"])), job.tolerance,
        )  # fmt: skip
