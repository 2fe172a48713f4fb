"""A sample of a raw output of planes, measured again."""

from collections.abc import Iterator

import numpy as np

from stable_regions.base.files import read_safetensors
from stable_regions.experiments.activations import cache
from stable_regions.experiments.plane.measure import plane_tensors
from stable_regions.experiments.sampling import Compared, Sampling, compare, largest, some_prompts

POINTS = 5  # a side


def sample(job: Sampling) -> Iterator[Compared]:
    """A few points of one plane, in all three contexts."""
    stored, _ = read_safetensors(job.path)
    entry = job.facts["experiment"]
    at = int(job.rng.integers(len(entry["layers"])))
    triple = int(job.rng.integers(entry["triples"]))
    axis = stored["axis"].numpy()
    some = np.sort(job.rng.choice(len(axis), min(POINTS, len(axis)), replace=False))
    few = some_prompts(job.prompts, np.arange(3 * triple, 3 * triple + 3))
    layers = [entry["layers"][at]]
    clean = cache(job.model, list(few["tokens"]), layers, budget=job.budget)
    new = plane_tensors(
        job.model, few, clean, triples=(0, 1), layers=layers, axis=axis[some], budget=job.budget
    )
    for name in ("distance_post_norm", "distance_pre_norm", "top_token"):
        old = stored[name].numpy()
        part = old[at, triple][:, some][:, :, some]
        yield compare(name, part, new[name][0, 0].numpy(), largest(old), job.tolerance)
