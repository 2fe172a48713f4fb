"""A little freezing, timed to estimate what it costs."""

from functools import partial
from typing import Any

from stable_regions.experiments.freezing.measure import freeze
from stable_regions.experiments.freezing.settings import conditions
from stable_regions.experiments.interpolation.calibrate import STEPS
from stable_regions.models.model import Model


def _freezing(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    run = partial(freeze, model, tokens, a, b, layer=0, steps=STEPS, windows=1, budget=budget)
    return len(tokens) * STEPS * len(conditions(0, model.n_layers, 1)), run


WAYS = {"freezing": _freezing}
