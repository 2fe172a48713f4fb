"""Boundaries of stable regions on a path: where the output moves much faster than on average.

A path is given by its steps: the distances between successive outputs. A step's *speed* is its
length over the mean length of the path's steps, so that a straight path at an even pace has speed 1
throughout. A **boundary** is a maximal stretch of successive steps whose speed is above `SPEED`;
what is left between boundaries, and at the ends, is inside regions. So a path with n boundaries
meets n + 1 regions at most, and every step belongs to one or the other.

Why this definition:

- it takes the output's own movement, not its distance from the start: a path that leaves a region
  and comes to another one at the same distance has crossed a boundary;
- it knows no unit: neither the scale of the output nor the length of the path matters, and models,
  layers and read sites can be compared;
- it cannot find boundaries in an even movement, however far it goes; and the steps above a speed of
  s are less than 1/s of a path, so boundaries never make up most of it;
- a stretch counts once, whatever its shape: noise on top of a jump doesn't make it two, which
  counting local maxima would.

What it leaves open is the number `SPEED`, and whether a dip in a stretch, or a finer grid, would
split it. `DEFINITIONS` has the alternatives that results are tabulated for.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float, Int

from stable_regions.measures.paths import relative

SPEED = 2.0
REST = 1.0  # a boundary that is left only when the output is slower than on average
RISE, WINDOW = 0.2, 0.1  # of the relative output distance, in a part of the path

Steps = Float[np.ndarray, "pair step"]
Mask = Bool[np.ndarray, "pair step"]


def speed(steps: Steps) -> Steps:
    """Length of each step over the mean of its path; NaN on a path whose output never moves."""
    steps = np.asarray(steps, dtype=np.float64)
    mean = steps.mean(axis=-1, keepdims=True)
    return np.divide(steps, mean, out=np.full_like(steps, np.nan), where=mean > 0)


def in_boundary(steps: Steps, threshold: float = SPEED) -> Mask:
    """Which steps are in a boundary: those faster than `threshold` times the path's mean."""
    return speed(steps) > threshold


def count(mask: Mask) -> Int[np.ndarray, " pair"]:
    """Number of boundaries on each path: maximal stretches of steps that are in one."""
    started = np.diff(mask.astype(np.int8), axis=-1, prepend=0) == 1
    return started.sum(axis=-1)


def _down_to_rest(steps: Steps) -> Mask:
    """Stretches above `SPEED`, joined where no step between is at rest (`REST` or slower)."""
    pace = speed(steps)
    fast, rest = pace > SPEED, pace <= REST
    return _lasting(fast, rest) & _lasting(fast[:, ::-1], rest[:, ::-1])[:, ::-1]


def _lasting(fast: Mask, rest: Mask) -> Mask:
    """True from a fast step on, until the next step at rest."""
    mask = fast.copy()
    for step in range(1, mask.shape[-1]):
        mask[:, step] |= mask[:, step - 1] & ~rest[:, step]
    return mask


def _peaks(steps: Steps) -> Mask:
    """Steps above `SPEED` that are faster than the one before and not slower than the one after."""
    pace = speed(steps)
    around = np.pad(pace, ((0, 0), (1, 1)), constant_values=-np.inf)
    return (pace > SPEED) & (pace > around[:, :-2]) & (pace >= around[:, 2:])


def _coarser(steps: Steps) -> Mask:
    """Stretches above `SPEED` of the speed over two steps; an odd last step stands alone."""
    width = steps.shape[-1]
    padded = np.pad(steps, ((0, 0), (0, width % 2)), mode="edge")
    return np.repeat(in_boundary(padded.reshape(len(steps), -1, 2).mean(-1)), 2, axis=-1)[:, :width]


def _rising(distance: Float[np.ndarray, "pair point"]) -> Mask:
    """Stretches where the relative distance rises by more than `RISE` within `WINDOW` of the path.

    Twice the pace of a straight line, as `SPEED` is, but of the distance from the start.
    """
    curve = relative(distance)
    width = curve.shape[-1] - 1
    window = max(1, round(WINDOW * width))
    rise = curve[:, window:] - curve[:, :-window] > RISE * window / (WINDOW * width)
    mask = np.zeros((len(curve), width), dtype=bool)
    for shift in range(window):
        mask[:, shift : shift + rise.shape[-1]] |= rise
    return mask


Definition = Callable[[Steps, Float[np.ndarray, "pair point"]], Mask]

MAIN = f"speed > {SPEED:g}"
# Name -> which steps are in a boundary, from the paths' steps and their distances from the start.
DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        "speed > 1.5": lambda steps, _: in_boundary(steps, 1.5),
        MAIN: lambda steps, _: in_boundary(steps),
        "speed > 3": lambda steps, _: in_boundary(steps, 3.0),
        "speed > 5": lambda steps, _: in_boundary(steps, 5.0),
        "joined unless at rest between": lambda steps, _: _down_to_rest(steps),
        "speed over two steps": lambda steps, _: _coarser(steps),
        "local maxima": lambda steps, _: _peaks(steps),
        "rise of the distance": lambda _, distance: _rising(distance),
    }
)
