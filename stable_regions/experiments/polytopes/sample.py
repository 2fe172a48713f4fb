"""A sample of a raw output of counted gates, measured again."""

from collections.abc import Iterator

from stable_regions.experiments.polytopes.measure import gate_table
from stable_regions.experiments.sampling import Compared, Drawing, sample_pairs

BY_PAIR = True


def sample(given: Drawing) -> Iterator[Compared]:
    """Some of its rows."""
    steps = given.facts["experiment"]["steps"]
    return sample_pairs(
        given,
        lambda prompts, pairs, clean, how: gate_table(
            given.model, prompts, pairs, clean, steps=steps, **how
        ),
    )
