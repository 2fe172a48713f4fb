"""The paper's quantities, on arrays: distances along a path, and their max slope."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Num

# Of values and the axis of the pairs.
Statistic = Callable[[np.ndarray, int], np.ndarray]
# The resamples of a bootstrap are taken in parts of so many numbers, which stay in the cache.
NUMBERS_AT_ONCE = 2**16


def alphas(steps: int) -> Float[np.ndarray, " step"]:
    """The grid of alpha: `steps` points from 0 to 1, both ends included."""
    return np.linspace(0.0, 1.0, steps)


def relative(distance: Float[np.ndarray, "*pair step"]) -> Float[np.ndarray, "*pair step"]:
    """Relative output distance, d(alpha) / d(1); NaN for a path whose ends give one output."""
    distance = np.asarray(distance, dtype=np.float64)
    end = distance[..., -1:]
    return np.divide(distance, end, out=np.full_like(distance, np.nan), where=end > 0)


def max_slope(distance: Float[np.ndarray, "*pair step"]) -> Float[np.ndarray, "*pair"]:
    """Sharpness: the largest forward difference of the relative output distance x (steps - 1).

    A straight line gives 1 (paper, section 4.1). NaN where the relative distance is.
    """
    curve = relative(distance)
    return np.asarray(np.diff(curve, axis=-1).max(axis=-1) * (curve.shape[-1] - 1))


def slopes(
    distance: Float[np.ndarray, "*pair point"], alpha: Float[np.ndarray, "*pair point"]
) -> Float[np.ndarray, "*pair point-1"]:
    """Forward differences of the relative output distance by alpha, on points at any distance."""
    return np.diff(relative(distance), axis=-1) / np.diff(alpha, axis=-1)


def barrier(step: Float[np.ndarray, "*pair rise"]) -> Float[np.ndarray, "*pair"]:
    """The largest speed of the output, `max || dF / d alpha ||` by finite differences.

    In units of the residual stream at the read site.
    """
    return np.asarray(step.max(axis=-1) * step.shape[-1])


def length(step: Float[np.ndarray, "*pair rise"]) -> Float[np.ndarray, "*pair"]:
    """The length of the output's path, in units of the residual stream at the read site."""
    return np.asarray(step.sum(axis=-1))


# What a path is like, from the distances of its outputs from the first, and of each from the one
# before it. All that is computed, tabulated and planned of a path between two prompts follows.
PATH_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "max_slope": lambda distance, step: max_slope(distance),
    "barrier": lambda distance, step: barrier(step),
    "length": lambda distance, step: length(step),
}
# The distances between two prompts as tables name them: between activations, outputs, on the way.
DISTANCES = ("input", "output", *(name.replace("_", " ") for name in PATH_MEASURES))


def path_measures(
    distance: Float[np.ndarray, "*pair step"], step: Float[np.ndarray, "*pair rise"]
) -> dict[str, Float[np.ndarray, "*pair"]]:
    """Each of `PATH_MEASURES` by its name."""
    return {name: measure(distance, step) for name, measure in PATH_MEASURES.items()}


def normalised_logit_difference(
    difference: Float[np.ndarray, "*pair step"],
) -> Float[np.ndarray, "*pair step"]:
    """`logit[t_A] - logit[t_B]` along the path, shifted and scaled to 1 at alpha = 0, 0 at 1.

    NaN where both ends have the same difference, as when the two top tokens are one.
    """
    difference = np.asarray(difference, dtype=np.float64)
    first, last = difference[..., :1], difference[..., -1:]
    span = first - last
    return np.divide(difference - last, span, out=np.full_like(difference, np.nan), where=span != 0)


def block_bootstrap(
    values: Num[np.ndarray, " pair *values"],
    *,
    block: int,
    resamples: int,
    seed: int,
    statistic: Statistic = np.median,
) -> Float[np.ndarray, "resample ..."]:
    """Medians (or another statistic, or several) of circular block resamples of a series of pairs.

    Neighbouring pairs share a prompt, so they are not independent; blocks of consecutive pairs
    keep that dependence inside a block (the pairs are 1-dependent: any block of several pairs
    will do). With `block=1` it is the ordinary bootstrap. A short series is cut into shorter
    blocks, so that there are five at least: one block of the whole would always give it back.

    Parameters
    ----------
    statistic
        Of many resamples at once: given `[resample, pair, *values]` and the axis of the pairs.
    """
    count = len(values)
    block = max(1, min(block, count // 5))
    rng = np.random.default_rng(seed)
    blocks = -(-count // block)
    at_once = max(1, NUMBERS_AT_ONCE // max(values.size, 1))
    statistics = []
    for first in range(0, resamples, at_once):
        starts = rng.integers(count, size=(min(at_once, resamples - first), blocks))
        index = (starts[..., None] + np.arange(block)).reshape(len(starts), -1)[:, :count] % count
        statistics.append(statistic(values[index], 1))
    return np.concatenate(statistics, dtype=np.float64)


def interval(resampled: Float[np.ndarray, " resample"], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap resamples."""
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def shared_prompts(pairs: Int[np.ndarray, "pair 2"]) -> bool:
    """Whether any two pairs have a prompt in common."""
    flat = np.asarray(pairs).ravel()
    return len(np.unique(flat)) < len(flat)
