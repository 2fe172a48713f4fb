"""The paper's quantities on arrays with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stable_regions.measures import paths as measures

STEPS = 50
curves = arrays(np.float64, (3, 12), elements=st.floats(0.01, 100))


def jump(at: float, width: float = 0.0, steps: int = STEPS) -> np.ndarray:
    """A distance that rises from 0 to 1 linearly within `width` around `at`."""
    return np.interp(measures.alphas(steps), [at - width / 2 - 1e-9, at + width / 2 + 1e-9], [0, 1])


def test_a_straight_line_has_slope_one() -> None:
    assert measures.max_slope(7.3 * measures.alphas(STEPS)) == pytest.approx(1.0)


def test_a_single_jump_has_the_largest_slope_there_is() -> None:
    assert measures.max_slope(jump(0.5)) == pytest.approx(STEPS - 1)


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5])
def test_a_ramp_has_the_slope_of_its_width(width: float) -> None:
    assert measures.max_slope(jump(0.5, width, steps=2001)) == pytest.approx(1 / width, rel=1e-3)


@given(curves, st.floats(0.001, 1000))
def test_the_unit_of_distance_does_not_matter(curve: np.ndarray, scale: float) -> None:
    np.testing.assert_allclose(
        measures.max_slope(scale * curve), measures.max_slope(curve), atol=1e-12
    )


@given(curves)
def test_a_relative_distance_ends_at_one(curve: np.ndarray) -> None:
    np.testing.assert_allclose(measures.relative(curve)[:, -1], 1.0)


@given(curves)
def test_a_curve_from_zero_to_one_is_at_least_as_steep_as_the_line(curve: np.ndarray) -> None:
    curve[:, 0] = 0
    assert (measures.max_slope(curve) >= 1 - 1e-9).all()


def test_ends_with_one_output_have_no_relative_distance() -> None:
    assert np.isnan(measures.max_slope(np.zeros((2, 5)))).all()


def test_logit_difference_is_one_then_zero() -> None:
    result = measures.normalised_logit_difference(np.array([[4.0, 1.0, -2.0], [3.0, 3.0, 3.0]]))
    np.testing.assert_allclose(result[0], [1.0, 0.5, 0.0])
    assert np.isnan(result[1]).all()


def test_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.normal(size=100)
        resampled = measures.block_bootstrap(values, block=1, resamples=200, seed=trial)
        low, high = measures.interval(resampled)
        hits += low <= 0 <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_blocks_widen_the_interval_of_dependent_pairs() -> None:
    """Neighbours that share a prompt: independent resampling would be too sure."""
    rng = np.random.default_rng(1)
    prompts = rng.normal(size=2001)
    values = prompts[1:] + prompts[:-1]
    alone, blocks = (
        measures.interval(measures.block_bootstrap(values, block=b, resamples=2000, seed=0))
        for b in (1, 10)
    )
    assert blocks[1] - blocks[0] > 1.15 * (alone[1] - alone[0])


def test_the_bootstrap_is_seeded() -> None:
    values = np.random.default_rng(2).normal(size=30)
    first, again, other = (
        measures.block_bootstrap(values, block=3, resamples=20, seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_shared_prompts_are_seen() -> None:
    assert measures.shared_prompts(np.array([[0, 1], [1, 2]]))
    assert not measures.shared_prompts(np.array([[0, 1], [2, 3]]))


@pytest.mark.parametrize("statistic", [np.median, np.mean])
@pytest.mark.parametrize(("shape", "block"), [((40,), 1), ((40,), 7), ((31, 2), 3), ((400, 3), 10)])
def test_many_resamples_at_once_are_those_of_one_by_one(
    shape: tuple[int, ...], block: int, statistic: measures.Statistic
) -> None:
    values = np.random.default_rng(5).normal(size=shape)
    random, blocks = np.random.default_rng(3), -(-len(values) // block)
    one_by_one = []
    for _ in range(150):  # several parts of the largest
        starts = random.integers(len(values), size=blocks)
        index = [(start + i) % len(values) for start in starts for i in range(block)]
        one_by_one.append(statistic(values[index[: len(values)]], 0))
    drawn = measures.block_bootstrap(
        values, block=block, resamples=150, seed=3, statistic=statistic
    )
    np.testing.assert_array_equal(drawn, one_by_one)
