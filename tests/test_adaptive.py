"""Adaptive steps: the max slope and its place, as on a fine grid, from fewer points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_regions.experiments.interpolation.measure import interpolate
from stable_regions.experiments.robustness.adaptive import CELLS, CUT, adaptive_paths, refine
from stable_regions.experiments.robustness.settings import ADAPTIVE_POINTS
from stable_regions.measures.paths import alphas, max_slope, slopes
from stable_regions.models.sweep import clean
from tests.models import VOCAB

BUDGET = 2**26


def jumps(places: list[float], widths: list[float]):
    """Paths of outputs that jump at a place, in a width: a logistic curve each."""
    place, width = torch.tensor(places)[:, None], torch.tensor(widths)[:, None]

    def evaluate(rows: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        assert alpha.shape[0] == len(rows)
        return torch.sigmoid((alpha - place[rows]) / width[rows])[..., None]

    return evaluate


def true_slope(place: float, width: float) -> float:
    ends = torch.sigmoid((torch.tensor([0.0, 1.0], dtype=torch.float64) - place) / width)
    return float(1 / (4 * width) / (ends[1] - ends[0]))


@settings(deadline=None)
@given(place=st.floats(0.05, 0.95), width=st.floats(0.004, 0.2))
def test_a_jump_is_found_with_its_place(place: float, width: float) -> None:
    [(alpha, distance)] = refine(jumps([place], [width]), 1, tolerance=0.01)
    slope = slopes(distance, alpha)
    assert slope.max() == pytest.approx(true_slope(place, width), rel=0.02)
    cell = slope.argmax()
    assert alpha[cell] - width / 3 < place < alpha[cell + 1] + width / 3


def test_paths_are_refined_apart_and_only_where_they_are_steep() -> None:
    paths = refine(jumps([0.3, 0.7, 0.5], [0.01, 100.0, 0.01]), 3, tolerance=0.01)
    alone = [
        refine(jumps([place], [width]), 1, tolerance=0.01)[0]
        for place, width in ((0.3, 0.01), (0.7, 100.0), (0.5, 0.01))
    ]
    for path, other in zip(paths, alone, strict=True):
        for ours, theirs in zip(path, other, strict=True):
            assert (ours == theirs).all()
    alpha = [path[0] for path in paths]
    assert len(alpha[1]) == CELLS + 1 + 2 * CUT  # a straight line: one round, which adds nothing
    added = np.setdiff1d(alpha[0], np.linspace(0, 1, CELLS + 1))
    assert (np.abs(added - 0.3) < 2 / CELLS).all()


def test_points_ascend_and_are_no_more_than_the_plan_counts() -> None:
    for alpha, distance in refine(jumps([0.4, 0.41], [1e-3, 1e-4]), 2, tolerance=1e-6):
        assert len(alpha) == len(distance) == ADAPTIVE_POINTS
        assert (alpha[0], alpha[-1], distance[0]) == (0, 1, 0)
        assert (np.diff(alpha) > 0).all()


def test_a_path_that_ends_where_it_began_does_not_go_on() -> None:
    [(alpha, distance)] = refine(lambda _, alpha: 0 * alpha[..., None], 1, tolerance=0.01)
    assert len(alpha) == CELLS + 1 + 2 * CUT
    assert not distance.any()


@pytest.mark.parametrize("engine", ["auto", "bridge"])
def test_on_a_model_it_is_the_max_slope_of_a_fine_grid(model_of, engine: str) -> None:
    model = model_of("llama", "float64", engine)
    tokens = torch.randint(VOCAB, (6, 5), generator=torch.Generator().manual_seed(0))
    start = clean(model, tokens, [0], budget=BUDGET)["resid.0"]
    given = (model, tokens, start, start.roll(-1, 0))
    fine = interpolate(*given, layer=0, steps=401, top_tokens=None, budget=BUDGET)
    expected = max_slope(fine["distance_post_norm"])
    budgets = (BUDGET, 2**20)  # of all pairs at once, of a few
    for budget in budgets:
        paths = adaptive_paths(*given, layer=0, tolerance=0.01, budget=budget)
        result = [slopes(distance, alpha).max() for alpha, distance in paths]
        np.testing.assert_allclose(result, expected, rtol=0.02)
        assert max(len(alpha) for alpha, _ in paths) < 42
    # the same path on the same points is the interpolation itself
    alpha, distance = paths[0]
    grid = np.isin(alpha, alphas(17))
    coarse = interpolate(*given, layer=0, steps=17, top_tokens=None, budget=BUDGET)
    np.testing.assert_allclose(
        distance[grid], coarse["distance_post_norm"][0], rtol=1e-5, atol=1e-5
    )
