"""Where a curve first reaches a level, and how two directions add up to it."""

import numpy as np
from jaxtyping import Float

# Exponents that are tried: from concave level sets to almost a square, each 0.7 % more.
EXPONENTS = np.geomspace(0.25, 64, 801)


def crossings(
    distance: Float[np.ndarray, "*row length"], lengths: Float[np.ndarray, " length"], level: float
) -> Float[np.ndarray, "*row"]:
    """The length at which a curve first reaches a level; infinite where it does not.

    Between two lengths the curve is taken for a power of the length, from zero to the first for a
    straight line: the first length and the first distance are zero.
    """
    distance = np.asarray(distance, dtype=np.float64)
    reached = distance >= level
    after = np.maximum(reached.argmax(axis=-1), 1)
    ends = [np.take_along_axis(distance, at[..., None], -1)[..., 0] for at in (after - 1, after)]
    starts = lengths[after - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = lengths[after] * level / ends[1]
        share = np.log(level / ends[0]) / np.log(ends[1] / ends[0])
        power = starts * (lengths[after] / starts) ** share
    at = np.where(ends[0] > 0, np.where(starts > 0, power, straight), straight)
    return np.where(reached.any(axis=-1), at, np.inf)


def radii(
    angle: Float[np.ndarray, " angle"],
    first: Float[np.ndarray, "*row"] | float,
    last: Float[np.ndarray, "*row"] | float,
    exponent: float,
) -> Float[np.ndarray, "*row angle"]:
    """How far the level set `(x / first)^p + (y / last)^p = 1` is from its centre, by angle.

    Parameters
    ----------
    angle
        From 0 to 90 degrees, in radians.
    first, last
        Its lengths at 0 and at 90 degrees.
    exponent
        The p.
    """
    ends = np.asarray(first)[..., None], np.asarray(last)[..., None]
    sides = np.stack([np.abs(np.cos(angle)) / ends[0], np.abs(np.sin(angle)) / ends[1]])
    longest = sides.max(axis=0)  # taken out, so that no power runs out of range
    return 1 / (longest * ((sides / longest) ** exponent).sum(axis=0) ** (1 / exponent))


def exponents(
    length: Float[np.ndarray, "row angle"], angle: Float[np.ndarray, " angle"]
) -> Float[np.ndarray, " row"]:
    """The p by which two directions add up: of `(x / a)^p + (y / b)^p = 1`, row by row.

    a and b are the lengths at 0 and at 90 degrees. p is that of `EXPONENTS` whose level set is
    nearest to the lengths between: least squares of their logarithms. NaN where a or b is infinite.
    """
    inside = angle[1:-1]
    known = np.isfinite(length[:, [0, -1]]).all(axis=1)
    fitted = np.full(len(length), np.nan)
    first, last = length[known, 0], length[known, -1]
    tried = np.stack([np.log(radii(inside, first, last, p)) for p in EXPONENTS])
    misses = ((tried - np.log(length[known, 1:-1])) ** 2).sum(axis=-1)
    fitted[known] = EXPONENTS[misses.argmin(axis=0)]
    return fitted
