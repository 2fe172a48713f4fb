"""A little of the work on robustness, timed to estimate what it costs."""

from functools import partial
from typing import Any

import numpy as np
import torch

from stable_regions.experiments.interpolation.calibrate import STEPS
from stable_regions.experiments.interpolation.measure import path_points
from stable_regions.experiments.robustness.measure import READINGS, read_paths
from stable_regions.models.model import Model


def _robustness(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    alpha = torch.linspace(0, 1, STEPS)
    points = path_points(a, b, alpha)
    rows = list(np.asarray(tokens))
    run = partial(read_paths, model, rows, points, READINGS, layer=0, budget=budget)
    return len(tokens) * STEPS, run


WAYS = {"robustness": _robustness}
