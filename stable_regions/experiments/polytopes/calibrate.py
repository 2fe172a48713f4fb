"""A little of a count of gates, for an estimate of what one costs."""

from functools import partial
from typing import Any

from stable_regions.experiments.interpolation.calibrate import STEPS
from stable_regions.experiments.polytopes.measure import gate_changes
from stable_regions.models.model import Model


def _gates(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    run = partial(gate_changes, model, tokens, a, b, layer=0, steps=STEPS, budget=budget)
    return len(tokens) * STEPS, run


WAYS = {"gates": _gates}
