"""Levels that curves reach, and the exponent by which two directions add up, on made-up data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_regions.measures.levels import EXPONENTS, crossings, exponents, radii

LENGTHS = np.concatenate([[0.0], np.geomspace(0.05, 2, 24)])
ANGLES = np.linspace(0, np.pi / 2, 9)


@pytest.mark.parametrize("power", [0.5, 1, 2, 3])
def test_a_power_of_the_length_is_crossed_where_it_is(power: float) -> None:
    slopes = np.array([0.3, 1.0, 2.0])
    expected = (0.7 / slopes) ** (1 / power)
    at = crossings(slopes[:, None] * LENGTHS**power, LENGTHS, 0.7)
    np.testing.assert_allclose(at, np.where(expected > 2, np.inf, expected))


def test_before_the_first_length_a_curve_is_straight() -> None:
    np.testing.assert_allclose(crossings(np.array([[0.0, 4.0, 5.0]]), LENGTHS[:3], 1.0), 0.05 / 4)


def test_a_curve_that_comes_back_counts_where_it_first_crosses() -> None:
    at = crossings(np.array([[0.0, 2.0, 0.0, 2.0]]), np.array([0.0, 1.0, 2.0, 3.0]), 1.0)
    assert at.tolist() == [0.5]


def test_a_level_may_be_reached_from_no_movement_at_all() -> None:
    at = crossings(np.array([[0.0, 0.0, 2.0]]), np.array([0.0, 1.0, 2.0]), 1.0)
    assert 0 < at[0] <= 2


def test_what_does_not_reach_the_level_is_infinite() -> None:
    assert np.isinf(crossings(np.zeros((2, 25)), LENGTHS, 0.1)).all()


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_units_do_not_matter(length: float, distance: float) -> None:
    curve = np.array([np.tanh(LENGTHS)])
    at = crossings(curve * distance, LENGTHS * length, 0.3 * distance)
    np.testing.assert_allclose(at, crossings(curve, LENGTHS, 0.3) * length)


@pytest.mark.parametrize("power", [0.7, 1, 2, 4, 20])
def test_a_level_set_meets_its_equation(power: float) -> None:
    radius = radii(ANGLES, 0.4, 1.5, power)
    x, y = radius * np.cos(ANGLES), radius * np.sin(ANGLES)
    np.testing.assert_allclose((x / 0.4) ** power + (y / 1.5) ** power, 1)
    assert radius[[0, -1]] == pytest.approx([0.4, 1.5])


@pytest.mark.parametrize("power", [1, 2, 4])
def test_a_known_exponent_is_recovered(power: float) -> None:
    first, last = np.array([0.4, 1.0, 1.3]), np.array([1.5, 1.0, 0.2])
    np.testing.assert_allclose(
        exponents(radii(ANGLES, first, last, power), ANGLES), power, rtol=0.004
    )


@pytest.mark.parametrize("power", [1, 2, 4])
def test_noise_leaves_the_median_exponent_where_it_is(power: float) -> None:
    rng = np.random.default_rng(0)
    ends = rng.uniform(0.3, 1.5, (2, 400))
    lengths = radii(ANGLES, ends[0], ends[1], power) * np.exp(0.02 * rng.standard_normal((400, 9)))
    assert np.median(exponents(lengths, ANGLES)) == pytest.approx(power, rel=0.03)


def test_directions_of_like_and_of_opposed_effects_have_a_median_of_two() -> None:
    """An output that is linear: its ellipses are tilted one way as often as the other."""
    rng = np.random.default_rng(1)
    cosine = rng.uniform(-0.5, 0.5, 2001)
    ways = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
    square = 1 + 2 * cosine[:, None] * ways[0] * ways[1]
    fitted = exponents(1 / np.sqrt(square), ANGLES)
    assert np.median(fitted) == pytest.approx(2, rel=0.03)
    assert (fitted[cosine > 0.1] < 2).all()
    assert (fitted[cosine < -0.1] > 2).all()


def test_an_end_that_is_not_reached_leaves_no_exponent() -> None:
    lengths = radii(ANGLES, np.ones(3), np.ones(3), 2)
    lengths[0, 0] = lengths[1, -1] = np.inf
    assert np.isnan(exponents(lengths, ANGLES)).tolist() == [True, True, False]


def test_a_square_has_the_largest_exponent() -> None:
    square = 1 / np.maximum(np.cos(ANGLES), np.sin(ANGLES))
    assert exponents(square[None], ANGLES)[0] > 0.9 * EXPONENTS[-1]
