"""A sample of an interpolation's raw output, measured again."""

from collections.abc import Iterator

from stable_regions.experiments.interpolation.measure import interpolation_table
from stable_regions.experiments.sampling import Compared, Drawing, sample_pairs

BY_PAIR = True


def sample(given: Drawing) -> Iterator[Compared]:
    """Some of its rows."""
    entry = given.facts["experiment"]
    asked = {"steps": entry["steps"], "logits": entry["logits"]}
    return sample_pairs(
        given,
        lambda prompts, pairs, clean, how: interpolation_table(
            given.model, prompts, pairs, clean, **asked, **how
        ),
    )
