"""Short paths read after every layer, timed to estimate what one costs."""

from functools import partial
from typing import Any

from stable_regions.experiments.depth.measure import read_layers
from stable_regions.experiments.interpolation.calibrate import STEPS
from stable_regions.models.model import Model


def _reads(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    run = partial(read_layers, model, tokens, a, b, layer=0, steps=STEPS, budget=budget)
    return len(tokens) * STEPS, run


WAYS = {"reads": _reads}
