"""Directions around an activation, and mixtures of two: what is drawn, run and tabulated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stable_regions.base.errors import UserError
from stable_regions.experiments.directions import measure as directions
from stable_regions.experiments.directions import tables as direction_tables
from stable_regions.experiments.directions.measure import Surroundings
from stable_regions.experiments.directions.settings import BASES, DIRECTIONS, Settings
from stable_regions.experiments.mixing import measure as mixing
from stable_regions.experiments.mixing import tables as mixing_tables
from stable_regions.experiments.mixing.settings import TWO
from stable_regions.measures.distances import DISTANCES, l2
from stable_regions.measures.levels import radii
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, full_forward
from stable_regions.prompts.settings import RandomPrompts, WordPrompts

BUDGET = 2**24
DRAWN = {"components": 4, "seed": 0}
LENGTHS = directions.length_grid(4, 0.1, 2)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


AROUND = Surroundings(drawn(0, 40, 6) @ drawn(1, 6, 6) + 3, drawn(2, 5, 6))


# What is drawn


def test_lengths_begin_at_zero_and_grow_by_one_factor() -> None:
    grid = directions.length_grid(5, 0.1, 1.6)
    np.testing.assert_allclose(grid, [0, 0.1, 0.2, 0.4, 0.8, 1.6])


def test_the_usual_distance_is_the_median_over_all_pairs() -> None:
    assert directions.usual_distance(torch.tensor([[0.0], [1.0], [5.0]])) == 4


def test_directions_have_length_one_and_real_bases_are_the_activations() -> None:
    bases, ways = directions.draw(AROUND, 7, **DRAWN)
    assert (tuple(bases), tuple(ways)) == (BASES, DIRECTIONS)
    torch.testing.assert_close(bases["real"], AROUND.residual[:7])
    for way in ways.values():
        torch.testing.assert_close(way.norm(dim=-1), torch.ones(7, dtype=torch.float64))


def test_nothing_that_is_drawn_depends_on_what_is_drawn_after_it() -> None:
    bases, ways = directions.draw(AROUND, 7, **DRAWN)
    again, without = directions.draw(Surroundings(AROUND.residual), 7, **DRAWN)
    assert list(without) == list(DIRECTIONS[:-1])
    for name, way in without.items():
        torch.testing.assert_close(way, ways[name])
    torch.testing.assert_close(again["random"], bases["random"])
    two = mixing.draw_two(Surroundings(AROUND.residual), 7, **DRAWN)
    for name, way in two.items():
        torch.testing.assert_close(way, mixing.draw_two(AROUND, 7, **DRAWN)[name])


def test_random_bases_and_directions_of_the_covariance_share_no_numbers() -> None:
    bases, ways = directions.draw(AROUND, 30, **DRAWN)
    offsets = directions.unit(bases["random"] - AROUND.residual.mean(0))
    assert (offsets * ways["covariance"]).sum(-1).abs().max() < 0.999


def test_directions_of_the_covariance_have_it_and_mean_zero() -> None:
    vectors = AROUND.covariance(100_000, torch.Generator().manual_seed(0))
    scale = torch.cov(AROUND.residual.T).abs().max()
    mean = vectors.mean(0) / scale**0.5
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=0.02, rtol=0)
    torch.testing.assert_close(
        torch.cov(vectors.T) / scale, torch.cov(AROUND.residual.T) / scale, atol=0.02, rtol=0
    )  # fmt: skip


def test_a_difference_is_of_two_other_prompts() -> None:
    around = Surroundings(torch.eye(5, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        vectors = around.difference(5, generator)
        assert (vectors.diagonal() == 0).all()
        assert (vectors.abs().sum(-1) == 2).all()
        assert (vectors.sum(-1) == 0).all()


def test_principal_directions_are_the_largest_axes_of_both_signs() -> None:
    spread = torch.tensor([9.0, 5.0, 3.0]).double()
    around = Surroundings(drawn(3, 5000, 3) * spread)
    axes = around.axes(5)
    torch.testing.assert_close(axes, torch.eye(3).double(), atol=0.05, rtol=0)
    two = around.principal(200, torch.Generator().manual_seed(0), 3, each=2)
    products = (two[:, 0] * two[:, 1]).sum(-1)
    assert products.abs().max() < 1e-12
    first = (two[:, 0] @ axes[0]).round()
    assert set(first.tolist()) == {-1, 0, 1}


def test_contrastive_directions_are_between_different_kinds() -> None:
    around = Surroundings(AROUND.residual, torch.eye(6, dtype=torch.float64)[:5])
    two = around.contrastive(50, torch.Generator().manual_seed(0), each=2)
    assert (two.abs().sum((1, 2)) == 4).all()
    assert (two.abs().sum(1) <= 1).all()  # no kind in two of them
    assert (two.sum(-1) == 0).all()
    with pytest.raises(UserError, match=r"3 at a time need 6 kinds of words; the list has 5$"):
        around.contrastive(1, torch.Generator(), each=3)


def test_two_kinds_of_one_mean_have_no_direction() -> None:
    with pytest.raises(UserError, match="no direction between them"):
        directions.unit(torch.zeros(2, 3))


# What is run


def inputs(model: Model, layers: list[int]) -> tuple[pd.DataFrame, dict[str, Any], dict[int, Any]]:
    tokens = (torch.arange(6 * 5).reshape(6, 5) * 7) % model.vocab_size
    prompts = pd.DataFrame({"prompt": range(6), "tokens": list(tokens.numpy())})
    runs = clean(model, tokens, layers, sites=["post_norm"], budget=BUDGET)
    kinds = {layer: runs[f"resid.{layer}"][:4].roll(1, 0) * 1.5 for layer in layers}
    return prompts, runs, kinds


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_outputs_are_those_of_plain_patching(model_of: Callable[..., Model], family: str) -> None:
    model = model_of(family)
    prompts, runs, kinds = inputs(model, [1])
    table = directions.directions_table(
        model, prompts, runs, kinds, layers=[1], bases=3, some=range(3), lengths=LENGTHS,
        budget=BUDGET, **DRAWN,
    )  # fmt: skip
    residual = runs["resid.1"]
    origins, ways = directions.draw(Surroundings(residual, kinds[1]), 3, **DRAWN)
    scale = torch.tensor(LENGTHS) * directions.usual_distance(residual)
    for row in table.to_dict("records"):
        start = origins[row["base"]][row["prompt"]]
        points = start + scale[:, None] * ways[row["direction"]][row["prompt"]]
        tokens = torch.tensor(prompts["tokens"][row["prompt"]])
        out = full_forward(model, 1, tokens, points, ["post_norm", "logits"])
        for name, value in (
            ("post_norm", l2(out["post_norm"])),
            ("jensen_shannon", DISTANCES["jensen_shannon"].function(out["logits"])),
        ):
            np.testing.assert_allclose(
                row[f"distance_{name}"], value.numpy(), atol=1e-6 * float(value.max())
            )


def test_mixtures_are_those_of_plain_patching(model_of: Callable[..., Model]) -> None:
    model = model_of()
    prompts, runs, kinds = inputs(model, [0])
    table = mixing.mixing_table(
        model, prompts, runs, kinds, layers=[0], bases=2, some=range(2), angles=3, lengths=LENGTHS,
        budget=BUDGET, **DRAWN,
    )  # fmt: skip
    assert len(table) == 2 * len(TWO) * 3
    residual = runs["resid.0"]
    two = mixing.draw_two(Surroundings(residual, kinds[0]), 2, **DRAWN)
    scale = torch.tensor(LENGTHS) * directions.usual_distance(residual)
    for row in table.to_dict("records"):
        ways, angle = two[row["direction"]][row["prompt"]], np.radians(row["angle"])
        way = np.cos(angle) * ways[0] + np.sin(angle) * ways[1]
        points = residual[row["prompt"]] + scale[:, None] * way
        tokens = torch.tensor(prompts["tokens"][row["prompt"]])
        value = l2(full_forward(model, 0, tokens, points, ["post_norm"])["post_norm"]).numpy()
        np.testing.assert_allclose(row["distance_post_norm"], value, atol=1e-6 * value.max())


def test_a_part_of_the_bases_is_measured_as_in_the_whole(model_of: Callable[..., Model]) -> None:
    model = model_of()
    prompts, runs, kinds = inputs(model, [0, 1])
    how: dict[str, Any] = {
        "layers": [0, 1], "bases": 3, "lengths": LENGTHS, "budget": BUDGET,
    } | DRAWN  # fmt: skip
    keys = ["layer", "prompt", "base", "direction"]
    whole, part = (
        directions.directions_table(model, prompts, runs, kinds, some=some, **how)
        for some in (range(3), [1])
    )
    assert len(whole) == 2 * 3 * len(BASES) * len(DIRECTIONS)
    both = part.merge(whole, on=keys)
    assert len(both) == len(part) == len(whole) / 3
    for ours, theirs in zip(
        both["distance_post_norm_x"], both["distance_post_norm_y"], strict=True
    ):
        assert ours[0] == 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_the_mean_of_a_kind_is_over_its_words_whatever_their_prompts_length(
    model_of: Callable[..., Model],
) -> None:
    model = model_of()
    words = pd.DataFrame(
        {"kind": ["a", "b", "a"], "tokens": [np.array(t) for t in ([1, 2, 3], [4, 5, 6], [7, 8])]}
    )
    means = directions.word_means(model, words, [0, 1], budget=BUDGET)
    for layer in (0, 1):
        runs = [
            clean(model, torch.tensor(ids)[None], [layer], budget=BUDGET)[f"resid.{layer}"][0]
            for ids in words["tokens"]
        ]
        expected = torch.stack([(runs[0] + runs[2]) / 2, runs[1]])
        torch.testing.assert_close(means[layer], expected)


# What comes of it

GRID = directions.length_grid(24, 0.05, 2)
USUAL = {"layer": 0, "input": 7.0, "post_norm": 4.0, "jensen_shannon": 0.5}


def made_up(slopes: dict[tuple[str, str], list[float]]) -> list[tuple[pd.DataFrame, dict]]:
    """Outputs that move evenly, by so many usual distances a unit of length."""
    distances = ("post_norm", "jensen_shannon")
    rows = [
        {"prompt": i, "base": base, "direction": direction, "layer": 0}
        | {f"distance_{name}": GRID * slope * USUAL[name] for name in distances}
        for (base, direction), each in slopes.items() for i, slope in enumerate(each)
    ]  # fmt: skip
    return [(pd.DataFrame(rows), {"model": "m", "lengths": GRID.tolist(), "usual": [USUAL]})]


def cell(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    [result] = [one for _, one in table.iterrows()]
    return result


EVEN = {(base, name): [1.0, 2.0, 4.0] for base in BASES for name in DIRECTIONS}


def test_a_level_is_reached_at_its_part_of_the_usual_distance() -> None:
    raw = made_up(EVEN | {("real", "isotropic"): [0.1, 0.2, 2.0]})
    table = direction_tables.reaches(raw, resamples=50, seed=0)
    assert len(table) == 2 * 5 * 2 * 2
    for distance in ("post_norm", "jensen_shannon"):
        at = {"base": "real", "distance": distance}
        half = cell(table, direction="covariance", part="half", **at)
        assert half[["median", "never", "bases"]].tolist() == pytest.approx([0.25, 0, 3])
        tenth = cell(table, direction="covariance", part="tenth", **at)
        assert tenth["median"] == pytest.approx(0.05)
        # two of three do not come so far: the median is the longest length, which says "at least"
        late = cell(table, direction="isotropic", part="half", **at)
        assert late[["median", "q25", "never"]].tolist() == pytest.approx([2, 1.125, 2])


def test_ways_are_compared_from_the_same_bases() -> None:
    raw = made_up(EVEN | {("real", name): [0.5, 1.0, 2.0] for name in ("isotropic", "covariance")})
    table = direction_tables.comparisons(raw, resamples=50, seed=0)
    at = {"distance": "post_norm", "part": "tenth"}
    flat = cell(table, comparison="real over random", among="isotropic", **at)
    assert flat[["ratio", "ci_low", "ci_high"]].tolist() == pytest.approx([2, 2, 2])
    same = cell(table, comparison="isotropic over covariance", among="real", **at)
    assert same["ratio"] == pytest.approx(1)
    sooner = cell(table, comparison="covariance over contrastive", among="real", **at)
    assert sooner["ratio"] == pytest.approx(2)
    assert cell(table, comparison="covariance over contrastive", among="random", **at)[
        "ratio"
    ] == pytest.approx(1)


def test_of_two_ways_that_lead_nowhere_neither_is_longer() -> None:
    slow = {("real", name): [0.01] * 3 for name in ("isotropic", "covariance")}
    table = direction_tables.comparisons(made_up(EVEN | slow), resamples=50, seed=0)
    at = {"distance": "post_norm", "part": "half"}
    none = cell(table, comparison="isotropic over covariance", among="real", **at)
    assert none[["ratio", "ci_low", "ci_high"]].isna().all()
    bound = cell(table, comparison="real over random", among="isotropic", **at)
    assert bound["ratio"] == pytest.approx(2 / 0.25)


def test_curves_are_in_usual_distances() -> None:
    table = direction_tables.curves(made_up(EVEN))
    some = table[(table["base"] == "real") & (table["direction"] == "isotropic")]
    some = some[some["distance"] == "post_norm"]
    np.testing.assert_allclose(some["median"], 2 * GRID)
    np.testing.assert_allclose(some["mean"], 7 / 3 * GRID)


def mixed(power: float, longest: float = 2.0, bases: int = 6) -> list[tuple[pd.DataFrame, dict]]:
    """Outputs that have moved half of the usual distance of 1 on curves of one exponent."""
    angles = np.linspace(0, 90, 9)
    grid = directions.length_grid(40, 0.02, longest)
    rows = []
    for i in range(bases):
        at = radii(np.radians(angles), 0.2 + 0.1 * i, 0.9 - 0.1 * i, power)
        rows += [
            {"prompt": i, "direction": "contrastive", "layer": 0, "angle": angle,
             "distance_post_norm": 0.5 * (grid / r) ** 1.5}
            for angle, r in zip(angles, at, strict=True)
        ]  # fmt: skip
    return [(pd.DataFrame(rows), {"model": "m", "lengths": grid.tolist(), "usual": 1.0})]


@pytest.mark.parametrize("power", [1, 2, 4])
def test_the_exponent_of_made_up_outputs_is_found(power: float) -> None:
    made = mixing_tables.tabulate(mixed(power), [], resamples=50, seed=0)
    for part in ("tenth", "half"):
        one = cell(made[""], part=part)
        assert one["median"] == pytest.approx(power, rel=0.005)
        assert one[["bases", "never", "bounded"]].tolist() == [6, 0, 0]
        assert one["ci_low"] <= one["median"] <= one["ci_high"]
    middle = cell(made["angles"], part="half", angle=45.0)
    assert np.sign(round(middle["median"] - 1, 3)) == np.sign(power - 2)
    fit = cell(made["fits"], part="half", prompt=1)
    assert fit[["first", "last"]].tolist() == pytest.approx([0.3, 0.8])


def test_bases_whose_ways_lead_nowhere_have_no_exponent() -> None:
    made = mixing_tables.tabulate(mixed(2, longest=0.75), [], resamples=50, seed=0)
    one = cell(made[""], part="half")  # ends of 0.2 and 0.9, 0.3 and 0.8 are out of reach
    assert one[["bases", "never", "bounded"]].tolist() == [4, 2, 0]


def test_a_mixture_that_leads_nowhere_counts_with_the_longest_length() -> None:
    made = mixing_tables.tabulate(mixed(60, longest=0.75), [], resamples=50, seed=0)
    one = cell(made[""], part="half")
    assert one[["bases", "bounded"]].tolist() == [4, 2]
    fits = made["fits"][(made["fits"]["part"] == "half") & made["fits"]["exponent"].notna()]
    least = fits["longest"] > 0
    assert fits.loc[least, "exponent"].max() < fits.loc[~least, "exponent"].min()


# Its settings


RANDOM = RandomPrompts(kind="random", corpus="c", count=10)
WORDS = WordPrompts(kind="words", corpus="c", list="w.yaml")


@pytest.mark.parametrize(
    ("settings", "prompts", "name", "message"),
    [
        ({}, WORDS, "p", "kind 'words'; directions are measured from a set of kind 'random'"),
        ({}, RANDOM, "w", "e.words: the prompt set 'w' is of kind 'random'"),
        ({"bases": 11}, RANDOM, "p", "e.bases: asks for 11 prompts; the prompt set 'p' has 10"),
        ({"reach": 0.05}, RANDOM, "p", "e.shortest: holds 0.05; it must be less than the reach"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    settings: dict, prompts: Any, name: str, message: str
) -> None:
    entry = Settings(**{"kind": "directions", "prompts": "p", "words": "w", "bases": 4} | settings)
    with pytest.raises(UserError, match=message):
        entry.check_prompts(prompts, name, "e", "config.yaml")


def test_a_part_is_as_many_bases_as_fit_into_a_shard() -> None:
    entry = Settings(kind="directions", prompts="p", words="w", bases=5, lengths=9)
    assert entry.parts(RANDOM, 200) == [(0, 2), (2, 4), (4, 5)]
    assert entry.other_prompts() == {"words": ["w"]}
    assert [each.number for each in entry.points(RANDOM, RANDOM.size({}))] == [5 * (10 * 10 + 1)]
