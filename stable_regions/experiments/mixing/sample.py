"""A sample of a raw output of `mixing`, measured again."""

from collections.abc import Iterator

from stable_regions.experiments.directions.sample import sample_bases
from stable_regions.experiments.mixing.measure import mixing_table
from stable_regions.experiments.sampling import Compared, Sampling

NOT_SAMPLED = "contrastive directions, which need other prompts"


def sample(job: Sampling) -> Iterator[Compared]:
    """All from a few bases but what needs the words."""
    return sample_bases(job, mixing_table, {"angles": job.facts["experiment"]["angles"]})
