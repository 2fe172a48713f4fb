"""A little of the work on planes, timed to estimate what they cost."""

from functools import partial
from typing import Any

from stable_regions.experiments.plane.measure import fields, frames, grid_axis
from stable_regions.models.model import Model

AXIS = grid_axis(13, 0.25)


def _planes(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    triples = len(tokens) // 3
    plane = frames(a[: 3 * triples].unflatten(0, (-1, 3)))
    outputs = {site: b[: 3 * triples].unflatten(0, (-1, 3)) for site in ("post_norm", "pre_norm")}
    contexts = tokens[: 3 * triples].unflatten(0, (-1, 3))
    run = partial(fields, model, contexts, plane, outputs, layer=0, axis=AXIS, budget=budget)
    return 3 * triples * len(AXIS) ** 2, run


WAYS = {"planes": _planes}
