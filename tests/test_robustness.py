"""Choices: each variant does what its name says, and its effect is found on made-up data."""

import subprocess
import sys
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stable_regions.base.errors import UserError
from stable_regions.experiments.interpolation.measure import interpolation_table, path_points
from stable_regions.experiments.robustness import measure as robustness
from stable_regions.experiments.robustness.settings import ROBUSTNESS, Settings
from stable_regions.experiments.robustness.tables import effects, steps
from stable_regions.measures import distances
from stable_regions.measures.paths import alphas, max_slope
from stable_regions.study import config
from tests.models import D_MODEL, VOCAB

BUDGET = 2**24
GRID = torch.from_numpy(alphas(11))


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turning(angles: torch.Tensor, length: float = 1.0) -> torch.Tensor:
    """Vectors of one length in a plane, at the given angles."""
    return length * torch.stack([angles.cos(), angles.sin(), 0 * angles], dim=-1)


# Distances


@pytest.mark.parametrize("length", [0.1, 1.0, 300.0])
def test_angle_is_that_between_outputs_whatever_their_length(length: float) -> None:
    angles = GRID * 3
    out = turning(angles) * torch.linspace(1, length, 11)[:, None]
    torch.testing.assert_close(distances.angle(out), angles)
    torch.testing.assert_close(distances.cosine(out), 1 - angles.cos())


def test_small_angles_do_not_drown_in_rounding() -> None:
    angles = torch.tensor([0.0, 1e-9], dtype=torch.float64)
    assert distances.cosine(turning(angles))[1].item() == pytest.approx(5e-19, rel=1e-6)


def test_an_output_that_moves_evenly_has_slope_one_and_its_square_two() -> None:
    angles = alphas(101) * 0.01
    out = turning(torch.from_numpy(angles))
    assert max_slope(distances.angle(out).numpy()) == pytest.approx(1, abs=1e-6)
    # the last difference of alpha^2 is 2 - 1 / 100
    assert max_slope(distances.cosine(out).numpy()) == pytest.approx(1.99, abs=1e-4)


def test_jensen_shannon_is_zero_for_equal_and_one_bit_for_disjoint_predictions() -> None:
    logits = torch.tensor([[0.0, -900.0], [5.0, -895.0], [-900.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        distances.divergence(logits), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    )


def test_small_divergences_do_not_drown_in_rounding() -> None:
    """Of two predictions that are 2e for and against, it is e**2 / 2 nats in first order."""
    logits = torch.tensor([[0.0, 0.0], [4e-9, 0.0]], dtype=torch.float64)
    expected = 1e-9**2 / 2 / np.log(2)
    assert distances.divergence(logits)[1].item() == pytest.approx(expected, rel=1e-6)


def test_every_distance_of_the_configuration_is_listed_once() -> None:
    assert tuple(distances.DISTANCES) == get_args(distances.DistanceName)
    assert {name for choice, name in robustness.READINGS if choice == "distance"} == set(
        distances.DISTANCES
    )
    assert ROBUSTNESS.values_per_point == 2 * len(robustness.READINGS)


@pytest.mark.process
def test_distances_are_listed_without_starting_torch() -> None:
    """The configuration and the figures read the names."""
    code = "import sys, stable_regions.measures.distances; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_root_jensen_shannon_keeps_the_triangle_inequality() -> None:
    a, b, c = drawn(0, 3, 40, 7) * 3
    between = [
        torch.stack(
            [distances.root_divergence(torch.stack(pair))[1] for pair in zip(*two, strict=True)]
        )
        for two in ((a, b), (b, c), (a, c))
    ]
    assert (between[0] + between[1] >= between[2]).all()
    assert (between[0] ** 2 + between[1] ** 2 < between[2] ** 2).any()  # the divergence doesn't


# Paths and targets


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_interpolated_norm_joins_the_ends_in_the_plane_of_the_path(seed: int, scale: float) -> None:
    a, b = drawn(seed, 3, 5), drawn(seed + 1, 3, 5) * scale
    path = robustness.interpolated_norm(a, b, GRID)
    torch.testing.assert_close(path[:, 0], a)
    torch.testing.assert_close(path[:, -1], b)
    expected = a.norm(dim=-1)[:, None] * (1 - GRID) + b.norm(dim=-1)[:, None] * GRID
    torch.testing.assert_close(path.norm(dim=-1), expected)
    straight = path_points(a, b, GRID)
    cosines = torch.cosine_similarity(path, straight, dim=-1)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_slerp_turns_at_an_even_pace_and_keeps_to_the_norms_between(
    seed: int, scale: float
) -> None:
    a, b = drawn(seed, 3, 5), drawn(seed + 1, 3, 5) * scale
    path = robustness.slerp(a, b, GRID)
    torch.testing.assert_close(path[:, [0, -1]], torch.stack([a, b], dim=1))
    expected = a.norm(dim=-1)[:, None] * (1 - GRID) + b.norm(dim=-1)[:, None] * GRID
    torch.testing.assert_close(path.norm(dim=-1), expected)
    turned = torch.cosine_similarity(path[:, 1:], path[:, :-1], dim=-1).acos()
    whole = torch.cosine_similarity(a, b, dim=-1).acos()
    torch.testing.assert_close(turned, (whole / 10)[:, None].expand(-1, 10), rtol=1e-5, atol=1e-6)
    # the formula as it is written
    units = [each / each.norm(dim=-1, keepdim=True) for each in (a, b)]
    weights = [torch.sin(part * whole[:, None]) for part in (1 - GRID, GRID)]
    written = sum(w[..., None] * u[:, None] for w, u in zip(weights, units, strict=True))
    written = written / torch.sin(whole)[:, None, None] * expected[..., None]
    torch.testing.assert_close(path, written, rtol=1e-5, atol=1e-6)


def test_slerp_of_one_direction_is_straight_and_of_all_goes_where_the_scaled_path_goes() -> None:
    a = drawn(0, 2, 4)
    torch.testing.assert_close(robustness.slerp(a, 3 * a, GRID), path_points(a, 3 * a, GRID))
    b = a.roll(1, 0) * (a.norm(dim=-1) / a.roll(1, 0).norm(dim=-1))[:, None]  # of one norm
    fine = torch.from_numpy(alphas(2001))
    scaled = robustness.interpolated_norm(a, b, fine)
    away = torch.cdist(robustness.slerp(a, b, GRID), scaled).amin(-1)
    assert (away < 1e-2 * a.norm(dim=-1)[:, None]).all()


LINE = torch.tensor([[0.0, 0], [1, 0], [0.25, 0.1], [0.5, 0.2], [0.51, 0.25], [0.75, -0.2]])


def test_a_path_through_activations_goes_by_those_nearest_to_the_straight_one() -> None:
    a, b = LINE[:1].double(), LINE[1:2].double()
    residual = LINE.double()
    knots = residual[[0, 2, 3, 5, 1]]
    fine = torch.from_numpy(alphas(4001))
    path = robustness.through_activations(a, b, fine, residual)[0]
    assert (torch.cdist(knots, path).amin(-1) < 1e-3).all()
    torch.testing.assert_close(path[[0, -1]], knots[[0, -1]])
    steps_taken = path.diff(dim=0).norm(dim=-1)
    length = knots.diff(dim=0).norm(dim=-1).sum()
    assert steps_taken.max() <= length / 4000 + 1e-9  # at an even pace, but where it turns
    assert steps_taken.sum() == pytest.approx(length, rel=1e-3)


def test_each_activation_is_gone_through_once_and_the_ends_are_none() -> None:
    a, b = torch.zeros(1, 2).double(), torch.tensor([[1.0, 0]]).double()
    crowd = torch.tensor([[0.5, 0.01], [0.5, 9], [0.6, 9]]).double()  # one is nearest to all places
    path = robustness.through_activations(a, b, GRID, torch.cat([a, b, crowd]))
    fine = robustness.through_activations(
        a, b, torch.from_numpy(alphas(4001)), torch.cat([a, b, crowd])
    )[0]
    assert path.shape == (1, 11, 2)
    assert (torch.cdist(crowd, fine).amin(-1) < 2e-2).all()


def test_a_path_is_as_far_from_activations_as_its_points_are() -> None:
    a, b = LINE[:1].double(), LINE[1:2].double()
    straight = path_points(a, b, torch.from_numpy(alphas(5)))
    ends = torch.cat([a, b])
    assert robustness.off_activations(straight, a, b, ends) == pytest.approx(
        [(0.25 + 0.5 + 0.25) / 5]
    )
    [through] = robustness.off_activations(
        robustness.through_activations(a, b, GRID, LINE.double()), a, b, LINE.double()
    )
    [plain] = robustness.off_activations(path_points(a, b, GRID), a, b, LINE.double())
    assert through < plain


def test_covariance_points_have_the_mean_and_covariance_of_the_activations() -> None:
    residual = drawn(0, 50, 4) @ drawn(1, 4, 4) + 3
    points = robustness.covariance_points(residual, 200_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(points.mean(0), residual.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(points.T.cov(), residual.T.cov(), atol=0.1, rtol=0.05)


def test_isotropic_points_lie_as_far_as_the_other_prompt_on_all_sides() -> None:
    a, b = drawn(0, 1, 4).expand(50_000, 4), drawn(1, 1, 4).expand(50_000, 4)
    points = robustness.isotropic_points(a, b, torch.Generator().manual_seed(0))
    torch.testing.assert_close((points - a).norm(dim=-1), (b - a).norm(dim=-1))
    directions = (points - a) / (b - a).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(
        directions.T.cov(), torch.eye(4, dtype=torch.float64) / 4, atol=0.01, rtol=0
    )


# On a model


@pytest.fixture(scope="module")
def material(model_of):
    """A model, prompts, pairs and the activations that belong to them."""
    model = model_of("llama", "float64")
    tokens = np.random.default_rng(0).integers(3, VOCAB, size=(7, 5))
    prompts = pd.DataFrame({"prompt": range(7), "tokens": list(tokens)})
    pairs = pd.DataFrame({"pair": list("abcdef"), "prompt_a": range(6), "prompt_b": range(1, 7)})
    from stable_regions.experiments.activations import cache

    return model, prompts, pairs, cache(model, list(tokens), [0], budget=BUDGET)


@pytest.fixture(scope="module")
def varied(material):
    model, prompts, pairs, activations = material
    return robustness.varied_table(
        model,
        prompts,
        pairs,
        activations["resid.0"],
        layer=0,
        steps=9,
        read_sites=["pre_norm", "logits"],
        distances=["cosine", "angle", "jensen_shannon", "root_jensen_shannon"],
        grids=[9, 5],
        adaptive=[0.01],
        paths=["interpolated_norm", "slerp", "through_activations"],
        targets=["covariance", "isotropic"],
        seed=0,
        budget=BUDGET,
    )


def distance(table: pd.DataFrame, choice: str, value: str) -> np.ndarray:
    chosen = (table["choice"] == choice) & (table["value"] == value)
    return np.stack(table.loc[chosen, "distance"].to_list())


def test_every_value_has_every_pair(material, varied) -> None:
    counts = varied.groupby(["choice", "value"], sort=False).size()
    assert list(counts.index) == [
        ("default", "default"),
        ("read_site", "pre_norm"),
        ("read_site", "logits"),
        ("distance", "cosine"),
        ("distance", "angle"),
        ("distance", "jensen_shannon"),
        ("distance", "root_jensen_shannon"),
        ("steps", "9"),
        ("steps", "5"),
        ("steps", "adaptive 0.01"),
        ("path", "interpolated_norm"),
        ("path", "slerp"),
        ("path", "through_activations"),
        ("target", "covariance"),
        ("target", "isotropic"),
    ]
    assert (counts == 6).all()


def test_default_is_the_interpolation(material, varied) -> None:
    model, prompts, pairs, activations = material
    expected = interpolation_table(
        model, prompts, pairs, activations, layers=[0], steps=9, logits=True, budget=BUDGET
    )
    for key, column in {
        ("default", "default"): "distance_post_norm",
        ("read_site", "pre_norm"): "distance_pre_norm",
        ("distance", "jensen_shannon"): "jensen_shannon",
        ("steps", "9"): "distance_post_norm",
    }.items():
        np.testing.assert_allclose(
            distance(varied, *key), np.stack(expected[column].to_list()), rtol=1e-6, atol=1e-9
        )


def test_a_coarser_grid_has_fewer_points_of_the_same_path(varied) -> None:
    coarse, fine = distance(varied, "steps", "5"), distance(varied, "default", "default")
    np.testing.assert_allclose(coarse, fine[:, ::2], rtol=1e-6, atol=1e-9)


def test_other_paths_begin_at_the_prompt_and_end_where_they_should(varied) -> None:
    default = distance(varied, "default", "default")
    for shape in robustness.PATHS:
        bent = distance(varied, "path", shape)
        np.testing.assert_allclose(bent[:, [0, -1]], default[:, [0, -1]], rtol=1e-6, atol=1e-6)
        assert not np.allclose(bent, default, rtol=1e-3)
    for target in ("covariance", "isotropic"):
        other = distance(varied, "target", target)
        np.testing.assert_allclose(other[:, 0], 0, atol=1e-9)
        assert not np.isclose(other[:, -1], default[:, -1], rtol=1e-3).any()


def test_default_table_is_the_default_from_clean_runs_of_its_own(material, varied) -> None:
    model, prompts, pairs, _ = material
    table = robustness.default_table(
        model, prompts, pairs, ("dtype", "float64"), layer=0, steps=9, budget=BUDGET
    )
    np.testing.assert_allclose(
        distance(table, "dtype", "float64"), distance(varied, "default", "default"), rtol=1e-6
    )


def test_dtypes_agree_to_their_precision(material, varied, model_of) -> None:
    _, prompts, pairs, _ = material
    exact = distance(varied, "default", "default")
    errors = {}
    for dtype in ("float32", "bfloat16"):
        table = robustness.default_table(
            model_of("llama", dtype), prompts, pairs, ("dtype", dtype), layer=0, steps=9,
            budget=BUDGET,
        )  # fmt: skip
        errors[dtype] = np.abs(distance(table, "dtype", dtype) - exact).max() / exact.max()
    assert errors["float32"] < 1e-4 < errors["bfloat16"] < 0.2


def test_random_targets_follow_the_seed(material) -> None:
    _, _, _, activations = material
    residual = activations["resid.0"]
    points = [
        robustness.covariance_points(residual, 3, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert points[0].shape == (3, D_MODEL)
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[0], points[2])


# Effects


def jumps(slopes: np.ndarray) -> list[np.ndarray]:
    """Distances on three points whose max slope is as given (between 1 and 2)."""
    return [np.array([0, slope / 2, 1]) for slope in slopes]


def raw(parts: dict[tuple[str, str], list], *, shared: bool = True) -> list:
    tables = []
    for (choice, value), paths in parts.items():
        first = np.arange(len(paths)) * (1 if shared else 2)
        tables.append(
            pd.DataFrame(
                {"pair": first, "prompt_a": first, "prompt_b": first + 1, "choice": choice,
                 "value": value, "alpha": [alphas(len(path)) for path in paths],
                 "distance": paths, "off_activations": np.nan}
            )
        )  # fmt: skip
    return [(pd.concat(tables, ignore_index=True), {"model": "m"})]


def effect(table: pd.DataFrame, choice: str) -> Any:
    return table.set_index("choice").loc[choice]


@pytest.mark.parametrize("shared", [True, False])
def test_a_shift_of_every_pair_is_found_exactly_though_the_pairs_differ(shared: bool) -> None:
    slopes = np.random.default_rng(0).uniform(1.2, 1.6, size=60)
    parts = {
        ("default", "default"): jumps(slopes),
        ("path", "bent"): jumps(slopes + 0.25),
        ("corpus", "other"): jumps(slopes + 0.25),
    }
    table = effects(raw(parts, shared=shared), resamples=400, seed=0)
    assert list(table["choice"]) == ["default", "path", "corpus"]
    assert np.isnan(effect(table, "default")["change"])
    assert effect(table, "default")["median"] == pytest.approx(np.median(slopes))
    bent, other = effect(table, "path"), effect(table, "corpus")
    assert bent[["change", "change_low", "change_high"]].to_list() == pytest.approx([0.25] * 3)
    # without pairing the change is as uncertain as both medians are
    assert other["change"] == pytest.approx(0.25)
    assert other["change_low"] < 0.24
    assert other["change_high"] > 0.26
    assert bool(bent["paired"])
    assert not bool(other["paired"])
    assert (table["ci_low"] < table["median"]).all()
    assert (table["median"] < table["ci_high"]).all()


def test_a_detour_counts_in_the_slope_and_not_in_the_pace() -> None:
    there = np.array([0.0, 1, 2, 3, 2, 1])  # three out, two back: each step as long
    table = effects(
        raw({("default", "default"): [np.linspace(0, 1, 6)] * 4, ("path", "bent"): [there] * 4}),
        resamples=20, seed=0,
    )  # fmt: skip
    assert effect(table, "default")[["median", "pace"]].to_list() == pytest.approx([1, 1])
    assert effect(table, "path")[["median", "pace"]].to_list() == pytest.approx([5, 1])
    uneven = np.array([0.0, 0, 0, 4, 4, 5])
    paced = effects(raw({("default", "default"): [uneven] * 4}), resamples=20, seed=0)
    assert paced.loc[0, ["pace", "pace_low", "pace_high"]].to_list() == pytest.approx([4] * 3)


def test_pairs_without_a_max_slope_are_counted_and_left_out_of_both_sides() -> None:
    slopes = np.linspace(1.1, 1.9, 9)
    default, changed = jumps(slopes), jumps(slopes)
    default[0], changed[8] = np.zeros(3), np.zeros(3)
    table = effects(
        raw({("default", "default"): default, ("path", "bent"): changed}), resamples=50, seed=0
    )
    assert list(table["pairs"]) == [8, 8]
    assert list(table["undefined"]) == [1, 1]
    assert effect(table, "path")["change"] == 0


def test_a_choice_without_any_max_slope_is_named() -> None:
    parts = {("default", "default"): jumps(np.ones(3)), ("path", "bent"): [np.zeros(3)] * 3}
    with pytest.raises(UserError, match="m: path bent"):
        effects(raw(parts), resamples=10, seed=0)


def test_steps_are_held_against_the_finest_grid() -> None:
    sharp = np.interp(alphas(101), [0, 0.5, 0.51, 1], [0, 0, 1, 1])
    even = alphas(101)
    parts = {
        ("default", "default"): [sharp[::10], even[::10]],
        ("path", "bent"): [even, even],
        ("steps", "101"): [sharp, even],
        ("steps", "adaptive 0.1"): [sharp[::50], even[::10]],
    }
    table = steps(raw(parts)).set_index("steps")
    assert list(table.index) == ["11", "101", "adaptive 0.1"]
    assert (table.loc["101", "error_median":] == 0).all()
    usual = table.loc["11"]  # one cell of ten has the whole jump: a tenth of the slope
    assert usual["points"] == 11
    assert usual["error_max"] == pytest.approx(0.9)
    assert usual["low"] == pytest.approx(0.45)  # the median of 0.9 and 0
    assert usual["place_max"] >= abs(0.55 - 0.505) - 1e-9
    assert table.loc["adaptive 0.1", "points"] == 7  # 3 and 11
    assert table.loc["adaptive 0.1", "error_max"] == pytest.approx(0.98)


def test_without_a_finer_grid_steps_are_not_compared() -> None:
    parts = {("default", "default"): [alphas(9)], ("steps", "5"): [alphas(5)]}
    assert steps(raw(parts)).empty
    assert "error_max" in steps(raw(parts)).columns


# Configuration


def configured(**entry) -> config.Config:
    return config.load(
        {
            "study": "s",
            "models": {
                "m": {"source": {"kind": "local", "path": "."}, "family": "f", "licence": "l"}
            },
            "corpora": {"c": {"kind": "local", "path": "."}},
            "prompts": {
                "p": {"kind": "random", "corpus": "c", "count": 30},
                "few": {"kind": "random", "corpus": "c", "count": 5},
                "written": {"kind": "pairs", "pairs": {"x": {"a": "one", "b": "two"}}},
            },
            "experiments": {"e": {"kind": "robustness", "prompts": "p", "pairs": 20, **entry}},
            "studies": {"s": {"title": "t", "experiments": {"e": ["m"]}}},
        }
    )


def test_choices_are_an_experiment() -> None:
    result = configured(distances=["angle"], grids=[25]).experiments["e"]
    assert isinstance(result, Settings)
    assert result.layers == [0]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"prompt_sets": ["q"]}, r"experiments\.e\.prompt_sets: .*'q'"),
        ({"prompt_sets": ["few"]}, r"experiments\.e\.pairs: .*20.*'few'.* 4"),
        ({"prompt_sets": ["written"]}, r"experiments\.e: .*'written'.*'pairs'"),
        ({"adaptive": [0.0]}, r"experiments\.e\.adaptive\.0: .*0"),
        ({"paths": ["geodesic"]}, r"experiments\.e\.paths\.0: .*'geodesic'"),
        ({"distances": ["l1"]}, r"experiments\.e\.distances\.0: .*'l1'"),
        ({"layers": [0, 1]}, r"experiments\.e\.layers: .*\[0, 1\]"),
        ({"dtypes": ["float16"]}, r"experiments\.e\.dtypes\.0: .*'float16'"),
    ],
)
def test_a_wrong_entry_is_one_line(entry: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        configured(**entry)
