"""A short interpolation, timed to estimate what one costs."""

from functools import partial
from typing import Any

from stable_regions.experiments.interpolation.measure import interpolate
from stable_regions.models.model import Model

STEPS = 50


def _paths(model: Model, tokens: Any, a: Any, b: Any, *, budget: int, **how: Any) -> Any:
    how = {"top_tokens": None} | how
    run = partial(interpolate, model, tokens, a, b, layer=0, steps=STEPS, budget=budget, **how)
    return len(tokens) * STEPS, run


def _predictions(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    return _paths(model, tokens, a, b, budget=budget, top_tokens=tokens[:, :2])


WAYS = {"paths": _paths, "predictions": _predictions}
