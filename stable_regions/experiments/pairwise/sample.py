"""A sample of a raw output of distances between all prompts, recomputed."""

from collections.abc import Iterator

import numpy as np

from stable_regions.base.files import read_safetensors
from stable_regions.experiments.activations import cache
from stable_regions.experiments.interpolation.measure import READ_SITES
from stable_regions.experiments.pairwise.blocks import by_context
from stable_regions.experiments.pairwise.measure import pairwise_arrays
from stable_regions.experiments.sampling import (
    PROMPTS,
    Compared,
    Sampling,
    compare,
    largest,
    some_prompts,
)

NOT_SAMPLED = "geometry and finer grids"  # they take all prompts at once


def sample(job: Sampling) -> Iterator[Compared]:
    """All pairs of a few prompts of one context."""
    stored, _ = read_safetensors(job.path, framework="numpy")
    entry = job.facts["experiment"]
    groups = by_context(job.prompts)
    context = int(job.rng.integers(len(groups)))
    group = groups[context]
    some = np.sort(job.rng.choice(len(group), min(PROMPTS, len(group)), replace=False))
    few = some_prompts(job.prompts, job.prompts["prompt"].to_numpy()[group[some]])
    clean = cache(job.model, list(few["tokens"]), entry["layers"], budget=job.budget)
    new = pairwise_arrays(
        job.model, few, clean, rows=(0, len(some)), layers=entry["layers"], steps=entry["steps"],
        fine_pairs=1, budget=job.budget,
    )  # fmt: skip
    i, j = (some[side] for side in np.triu_indices(len(some), 1))
    n = len(group)
    place = i * n - i * (i + 1) // 2 + j - i - 1  # of a pair in the upper triangle
    for site in READ_SITES:
        for name in (f"distance_{site}", f"step_{site}"):
            old = stored[name]
            yield compare(name, old[:, context][:, place], new[name], largest(old), job.tolerance)
    old = stored["states"]
    part = old[context][some][:, some]
    yield compare("states", part, new["states"], largest(old), job.tolerance)
    for name in ("input", *(f"directed_{site}" for site in READ_SITES)):
        old = stored[name]
        part = old[:, context][:, some][:, :, some]
        yield compare(name, part, new[name], largest(old), job.tolerance)
