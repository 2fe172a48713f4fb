"""A little of the work on directions, timed to estimate what it costs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from stable_regions.experiments.directions.measure import MEASURES, length_grid, outputs_along
from stable_regions.models.model import Model

LENGTHS = 24


def directions(
    model: Model,
    tokens: Any,
    a: Any,
    b: Any,
    *,
    measures: Mapping[str, tuple[str, Callable[[Any], Any]]],
    budget: int,
) -> Any:
    """One direction for each prompt, read in some ways."""
    run = partial(
        outputs_along, model, tokens, torch.arange(len(tokens)), a, b,
        torch.as_tensor(length_grid(LENGTHS, 0.05, 2), dtype=a.dtype), measures,
        layer=0, budget=budget,
    )  # fmt: skip
    return len(tokens) * (LENGTHS + 1), run


WAYS = {"directions": partial(directions, measures=MEASURES)}
