"""Boundaries on made-up paths: where they are known to be, and where there are none."""

import numpy as np
import pytest

from stable_regions.measures.boundaries import DEFINITIONS, MAIN, count, in_boundary, speed

STEPS = 49


def path(*jumps: tuple[int, int], height: float = 30.0, noise: float = 0.0) -> np.ndarray:
    """Steps of length 1, and of length `height` in the given ranges of steps."""
    steps = np.ones(STEPS) + noise * np.random.default_rng(0).standard_normal(STEPS)
    for first, end in jumps:
        steps[first:end] = height
    return steps[None]


def by_definition(steps: np.ndarray) -> dict[str, int]:
    distance = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
    return {name: int(count(mask(steps, distance))[0]) for name, mask in DEFINITIONS.items()}


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_an_even_movement_has_none_by_any_definition(noise: float) -> None:
    assert set(by_definition(path(noise=noise)).values()) == {0}


def test_a_jump_is_one_by_every_definition() -> None:
    assert set(by_definition(path((20, 23))).values()) == {1}


def test_two_jumps_are_two_by_every_definition() -> None:
    assert set(by_definition(path((8, 10), (34, 36))).values()) == {2}


def test_boundaries_are_where_the_jumps_are() -> None:
    mask = in_boundary(path((8, 10), (34, 36)))
    assert np.flatnonzero(mask[0]).tolist() == [8, 9, 34, 35]


def test_jumps_at_the_ends_count() -> None:
    assert count(in_boundary(path((0, 1), (48, 49)))).tolist() == [2]


@pytest.mark.parametrize("scale", [1e-6, 7.0])
def test_the_unit_does_not_matter(scale: float) -> None:
    steps = np.random.default_rng(1).gamma(0.5, size=(20, STEPS))
    np.testing.assert_array_equal(in_boundary(scale * steps), in_boundary(steps))


def test_a_threshold_leaves_out_what_is_slower() -> None:
    steps = path((20, 30), height=3.0)  # the mean is 69/49, so the speed is 2.13
    assert speed(steps).max() == pytest.approx(3 * 49 / 69)
    result = by_definition(steps)
    assert result["speed > 1.5"] == result[MAIN] == 1
    assert result["speed > 3"] == result["speed > 5"] == 0


@pytest.mark.parametrize("threshold", [1.5, 2.0, 5.0])
def test_the_fast_steps_are_a_small_part(threshold: float) -> None:
    steps = np.random.default_rng(2).gamma(0.2, size=(100, STEPS))
    assert (in_boundary(steps, threshold).mean(axis=1) < 1 / threshold).all()


def test_definitions_part_where_a_jump_has_a_dip() -> None:
    steps = path((20, 23), (24, 27), height=30.0)
    steps[0, 23] = 7.0  # the mean is 4.7: slower than a boundary, faster than the mean
    result = by_definition(steps)
    assert result[MAIN] == result["local maxima"] == 2
    assert result["joined unless at rest between"] == result["rise of the distance"] == 1


def test_a_wavy_jump_is_one_stretch_with_several_maxima() -> None:
    steps = path((20, 27))
    steps[0, 20:27] = [20, 30, 20, 30, 20, 30, 20]
    result = by_definition(steps)
    assert (result[MAIN], result["local maxima"]) == (1, 3)


def test_a_way_around_the_start_is_seen_by_speed_alone() -> None:
    steps = path((20, 23))
    distance = np.ones((1, STEPS + 1)) * np.linspace(0, 1, STEPS + 1)
    result = {name: int(count(mask(steps, distance))[0]) for name, mask in DEFINITIONS.items()}
    assert (result[MAIN], result["rise of the distance"]) == (1, 0)


def test_a_path_that_never_moves_has_none() -> None:
    assert count(in_boundary(np.zeros((1, STEPS)))).tolist() == [0]
    assert np.isnan(speed(np.zeros((1, STEPS)))).all()


def test_the_shortest_grid_works() -> None:
    steps, distance = np.ones((2, 1)), np.array([[0.0, 1.0]] * 2)
    for mask in DEFINITIONS.values():
        assert mask(steps, distance).shape == (2, 1)
