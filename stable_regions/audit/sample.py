"""Recompute a random sample of raw outputs with the models, and compare."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from stable_regions.audit.records import facts_of
from stable_regions.base.files import read_safetensors
from stable_regions.experiments.activations import cache
from stable_regions.experiments.kinds import module_of
from stable_regions.experiments.sampling import PROMPTS, Compared, Sampling, compare, largest
from stable_regions.models.model import Model

PAIRS = 20  # of each model


def activations(job: Sampling) -> Iterator[Compared]:
    """Clean runs of a few prompts."""
    stored, _ = read_safetensors(job.path)
    which = np.sort(job.rng.choice(len(job.prompts), min(PROMPTS, len(job.prompts)), replace=False))
    layers = [int(name.split(".")[1]) for name in stored if name.startswith("resid.")]
    tokens = list(job.prompts["tokens"].iloc[which])
    new = cache(job.model, tokens, layers, budget=job.budget)
    for name, old in stored.items():
        values = old.float().numpy()
        yield compare(
            name, values[which], new[name].float().numpy(), largest(values), job.tolerance
        )


def sample(
    model: Model,
    path: Path,
    prompts: pd.DataFrame,
    seed: int,
    pairs: int,
) -> list[Compared]:
    """Recompute a random sample of one raw file, or of one file of activations.

    Parameters
    ----------
    model
        The model that the file is of.
    prompts
        The prompts that it was measured on, in the model's tokens.
    seed
        The sample is drawn with this and the file's name.
    pairs
        How many rows to draw where the rows are pairs.
    """
    rng = np.random.default_rng([seed, *str(path).encode()])
    job = Sampling(model, path, prompts, rng, pairs, facts_of(path))
    if "experiment" not in job.facts:
        return list(activations(job))
    of_kind = module_of(job.facts["experiment"]["kind"], "sample")
    return list(of_kind.sample(job))
