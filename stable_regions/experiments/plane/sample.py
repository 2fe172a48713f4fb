"""A sample of a raw output of planes, measured again."""

from collections.abc import Iterator

import numpy as np

from stable_regions.base.files import read_safetensors
from stable_regions.experiments.activations import cache
from stable_regions.experiments.plane.measure import plane_tensors
from stable_regions.experiments.sampling import Compared, Drawing, compared, largest, some_prompts

POINTS = 5  # a side


def sample(given: Drawing) -> Iterator[Compared]:
    """A few points of one plane, in all three contexts."""
    stored, _ = read_safetensors(given.path)
    entry = given.facts["experiment"]
    at = int(given.rng.integers(len(entry["layers"])))
    triple = int(given.rng.integers(entry["triples"]))
    axis = stored["axis"].numpy()
    some = np.sort(given.rng.choice(len(axis), min(POINTS, len(axis)), replace=False))
    few = some_prompts(given.prompts, np.arange(3 * triple, 3 * triple + 3))
    layers = [entry["layers"][at]]
    clean = cache(given.model, list(few["tokens"]), layers, budget=given.budget)
    new = plane_tensors(
        given.model, few, clean, triples=(0, 1), layers=layers, axis=axis[some], budget=given.budget
    )
    for name in ("distance_post_norm", "distance_pre_norm", "top_token"):
        old = stored[name].numpy()
        part = old[at, triple][:, some][:, :, some]
        yield compared(name, part, new[name][0, 0].numpy(), largest(old), given.tolerance)
