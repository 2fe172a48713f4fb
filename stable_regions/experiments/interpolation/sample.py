"""A sample of an interpolation's raw output, recomputed."""

from collections.abc import Iterator

from stable_regions.experiments.interpolation.measure import interpolation_table
from stable_regions.experiments.sampling import Compared, Sampling, sample_pairs

BY_PAIR = True


def sample(job: Sampling) -> Iterator[Compared]:
    """Some of its rows."""
    entry = job.facts["experiment"]
    options = {"steps": entry["steps"], "logits": entry["logits"]}
    return sample_pairs(
        job,
        lambda prompts, pairs, clean, how: interpolation_table(
            job.model, prompts, pairs, clean, **options, **how
        ),
    )
