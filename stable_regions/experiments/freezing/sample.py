"""A sample of a raw output of `freezing`, measured again."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stable_regions.base.files import read_parquet
from stable_regions.experiments.activations import cache
from stable_regions.experiments.freezing.measure import freezing_table
from stable_regions.experiments.freezing.settings import Condition
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.experiments.sampling import (
    PROMPTS,
    Compared,
    Sampling,
    compare,
    largest,
    some_prompts,
)


def sample(job: Sampling) -> Iterator[Compared]:
    """A few pairs under every condition."""
    raw, _ = read_parquet(job.path)
    entry = job.facts["experiment"]
    plain = raw[raw["frozen"] == "nothing"]
    few = plain.iloc[np.sort(job.rng.choice(len(plain), min(PROMPTS, len(plain)), replace=False))]
    for layer, rows in few.groupby("layer"):
        ends = rows[["prompt_a", "prompt_b"]].to_numpy()
        used, index = np.unique(ends, return_inverse=True)
        index = index.reshape(ends.shape)
        prompts = some_prompts(job.prompts, used)
        again = pd.DataFrame(
            {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
        )
        layers = [int(str(layer))]
        clean = cache(job.model, list(prompts["tokens"]), layers, budget=job.budget)
        new = freezing_table(
            job.model, prompts, again, clean,
            layers=layers, steps=entry["steps"], windows=entry["windows"], budget=job.budget,
        )  # fmt: skip
        keys = ["pair", "layer", *Condition._fields]
        both = new.merge(raw, on=keys, suffixes=("", "_old"), validate="one_to_one")
        for name in ("distance_post_norm", "distance_pre_norm", "step_post_norm", "step_pre_norm"):
            yield compare(
                name, stacked(both[f"{name}_old"]), stacked(both[name]),
                largest(stacked(raw[name])), job.tolerance,
            )  # fmt: skip
