"""A sample of a raw output of `depth`, recomputed."""

from collections.abc import Iterator

from stable_regions.experiments.depth.measure import depth_table
from stable_regions.experiments.sampling import Compared, Sampling, sample_pairs

BY_PAIR = True


def sample(job: Sampling) -> Iterator[Compared]:
    """Some of its rows."""
    steps = job.facts["experiment"]["steps"]
    return sample_pairs(
        job,
        lambda prompts, pairs, clean, how: depth_table(
            job.model, prompts, pairs, clean, steps=steps, **how
        ),
    )
