"""A sample of a raw output of `directions`, measured again."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from stable_regions.base.files import read_parquet
from stable_regions.experiments.activations import cache
from stable_regions.experiments.directions.measure import directions_table, length_grid
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.experiments.sampling import Compared, Sampling, compare, largest

BASES = 2
NOT_SAMPLED = "contrastive directions, which need other prompts"


def sample(job: Sampling) -> Iterator[Compared]:
    """All from a few bases but what needs the words."""
    return sample_bases(job, directions_table, {})


def sample_bases(
    job: Sampling, again: Callable[..., pd.DataFrame], options: dict[str, int]
) -> Iterator[Compared]:
    """A few bases of a table with a row a base, and what their directions are drawn from.

    Parameters
    ----------
    again
        `directions_table`, or another function with its parameters, and with `options`.
    """
    raw, facts = read_parquet(job.path)
    entry = facts["experiment"]
    some = np.sort(job.rng.choice(entry["bases"], min(BASES, entry["bases"]), replace=False))
    clean = cache(job.model, list(job.prompts["tokens"]), entry["layers"], budget=job.budget)
    new = again(
        job.model, job.prompts, clean, {}, layers=entry["layers"], bases=entry["bases"],
        some=some.tolist(), components=entry["components"], seed=entry["seed"], budget=job.budget,
        lengths=length_grid(entry["lengths"], entry["shortest"], entry["reach"]), **options,
    )  # fmt: skip
    keys = [str(name) for name in new if not str(name).startswith("distance_")]
    both = new.merge(raw, on=keys, how="left", suffixes=("", "_stored"), validate="one_to_one")
    for name in new.columns.difference(keys):
        yield compare(
            name, stacked(both[f"{name}_stored"]), stacked(both[name]),
            largest(stacked(raw[name])), job.tolerance,
        )  # fmt: skip
