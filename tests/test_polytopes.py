"""Sign changes of gates: against plain patching, and tables of made-up counts."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from stable_regions.experiments.interpolation.measure import path_points
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.experiments.polytopes import tables as polytope_tables
from stable_regions.experiments.polytopes.measure import gate_changes, gate_table
from stable_regions.measures.paths import alphas
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, full_forward

BUDGET = 2**22
STEPS = 6


def ends(model: Model, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.arange(3 * 5).reshape(3, 5)
    residual = clean(model, tokens, [layer], budget=BUDGET)[f"resid.{layer}"]
    return tokens, residual, residual.roll(-1, 0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # with a gate, and without
@pytest.mark.parametrize("layer", [0, 1])
def test_counts_are_those_of_plain_patching(
    model_of: Callable[..., Model], family: str, layer: int
) -> None:
    model = model_of(family)
    tokens, start, end = ends(model, layer)
    result = gate_changes(model, tokens, start, end, layer=layer, steps=STEPS, budget=BUDGET)
    read = range(layer + 1, model.n_layers)
    points = path_points(start, end, torch.as_tensor(alphas(STEPS)))
    for pair in range(len(tokens)):
        held = full_forward(model, layer, tokens[pair], points[pair], [f"gate.{n}" for n in read])
        signs = np.stack([np.sign(held[f"gate.{n}"].numpy()) for n in read])  # [layer, step, gate]
        moves = signs[:, 1:] * signs[:, :-1] < 0
        np.testing.assert_array_equal(
            result["mismatch"][pair], (signs[:, 0] * signs[:, -1] < 0).sum(-1)
        )
        np.testing.assert_array_equal(result["passed"][pair], moves.sum((1, 2)))
        np.testing.assert_array_equal(result["passed_by_step"][pair], moves.sum((0, 2)))
        np.testing.assert_array_equal(result["passed_by_step_last"][pair], moves[-1].sum(-1))
    assert result["passed"].sum() > 0


def test_a_path_that_stays_changes_nothing(model_of: Callable[..., Model]) -> None:
    model = model_of()
    tokens, start, _ = ends(model, 0)
    result = gate_changes(model, tokens, start, start, layer=0, steps=STEPS, budget=BUDGET)
    assert result["passed"].sum() == result["mismatch"].sum() == 0


def test_mismatches_are_passed_and_steps_are_parts_of_the_whole(
    model_of: Callable[..., Model],
) -> None:
    model = model_of()
    tokens, start, end = ends(model, 0)
    result = gate_changes(model, tokens, start, end, layer=0, steps=20, budget=BUDGET)
    assert (result["mismatch"] <= result["passed"]).all()
    assert ((result["passed"] - result["mismatch"]) % 2 == 0).all()  # there and back again
    np.testing.assert_array_equal(result["passed_by_step"].sum(1), result["passed"].sum(1))
    assert (result["step_pre_norm"].sum(1) >= result["distance_pre_norm"][:, -1] - 1e-9).all()


def test_one_row_a_pair_and_layer(model_of: Callable[..., Model]) -> None:
    model = model_of()
    prompts = pd.DataFrame({"prompt": range(3), "tokens": torch.arange(15).reshape(3, 5).tolist()})
    pairs = pd.DataFrame({"pair": ["0", "1"], "prompt_a": [0, 1], "prompt_b": [1, 2]})
    runs = clean(model, torch.tensor(prompts["tokens"]), [0, 1], budget=BUDGET)
    table = gate_table(model, prompts, pairs, runs, layers=[0, 1], steps=STEPS, budget=BUDGET)
    assert table[["pair", "layer"]].to_numpy().tolist() == [["0", 0], ["1", 0], ["0", 1], ["1", 1]]
    assert [len(m) for m in table["mismatch"]] == [2, 2, 1, 1]


def made_up(jumps: list[int], changes: int = 100) -> tuple[pd.DataFrame, dict]:
    """Paths of 21 points in 2 layers of 50 gates, with so many jumps of one step each.

    At each jump so many gates change sign; at every other step, one.
    """
    steps = np.ones((len(jumps), 20))
    for row, number in enumerate(jumps):
        steps[row, 3 : 3 + 4 * number : 4] = 40
    passed = np.where(steps > 1, changes, 1)
    distance = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
    table = pd.DataFrame(
        {
            "pair": [str(i) for i in range(len(jumps))],
            "layer": 0,
            "prompt_a": range(0, 2 * len(jumps), 2),
            "prompt_b": range(1, 2 * len(jumps), 2),
            "mismatch": [[7, 3]] * len(jumps),
            "passed": [[total - 5, 5] for total in passed.sum(1)],
            "passed_by_step": list(passed),
            "passed_by_step_last": list(np.ones_like(passed)),
        }
        | {f"step_{site}": list(steps) for site in ("post_norm", "pre_norm")}
        | {f"distance_{site}": list(distance) for site in ("post_norm", "pre_norm")}
    )
    return table, {"model": "m", "layers": 3, "gates": 50, "gated": False}


def row(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    [result] = [one for _, one in table.iterrows()]
    return result


MAIN = {"read_site": "post_norm", "definition": "speed > 2"}


def test_gates_by_layer_and_over_all() -> None:
    table = polytope_tables.gates([made_up([1, 1, 1])], resamples=20, seed=0)
    assert row(table, measure="mismatch", read_layer="1")["median"] == 7
    assert row(table, measure="mismatch", read_layer="2")["median"] == 3
    over_all = row(table, measure="passed", read_layer="all")
    assert (over_all["median"], over_all["gates"]) == (100 + 19, 100)
    assert not table["gated"].any()


def test_boundaries_are_counted_by_definition() -> None:
    table = polytope_tables.boundaries([made_up([0, 1, 1, 4])], resamples=20, seed=0)
    main = row(table, **MAIN)
    assert main[["mean", "none", "one", "more"]].tolist() == [1.5, 0.25, 0.5, 0.25]
    assert main["steps"] == pytest.approx(6 / 80)
    assert main["ci_low"] <= main["mean"] <= main["ci_high"]
    assert row(table, read_site="post_norm", definition="speed > 5")["mean"] == 0.5


def test_sign_changes_for_each_boundary() -> None:
    table = polytope_tables.comparison([made_up([0, 1, 3])], resamples=20, seed=0)
    both = row(table, **MAIN, measure="per_boundary")
    assert both["pairs"] == 2
    assert both["median"] == pytest.approx(((100 + 19) + (300 + 17) / 3) / 2)
    assert row(table, **MAIN, measure="per_boundary_last")["median"] == pytest.approx(40 / 3)
    for measure, value in (("one_boundary_mismatch", 3), ("one_boundary_last", 20)):
        one = row(table, **MAIN, measure=measure)
        assert (one["pairs"], one["median"]) == (1, value)
    regions = row(table, **MAIN, measure="per_region")
    assert (regions["pairs"], regions["median"]) == (3, pytest.approx(19 / 2))
    assert row(table, **MAIN, measure="density")["median"] == pytest.approx(100)
    assert row(table, **MAIN, measure="movement")["median"] == pytest.approx(40)


def test_no_boundaries_leave_nothing_to_compare() -> None:
    raw = [made_up([0, 0])]
    table = polytope_tables.comparison(raw, resamples=20, seed=0)
    for measure in ("one_boundary_mismatch", "one_boundary_last", "per_boundary", "density"):
        empty = row(table, **MAIN, measure=measure)
        assert empty["pairs"] == 0
        assert np.isnan(empty["median"])
    assert row(table, **MAIN, measure="per_region")["median"] == 20
    assert row(polytope_tables.boundaries(raw, resamples=20, seed=0), **MAIN)["none"] == 1


def test_gates_that_do_not_care_have_density_one() -> None:
    table = polytope_tables.comparison([made_up([1, 2], changes=1)], resamples=20, seed=0)
    assert row(table, **MAIN, measure="density")["median"] == 1


def test_the_fastest_steps_are_a_tenth_of_every_path() -> None:
    steps = np.array([[1.0, 3, 2, 3, 1, 1, 1, 1, 1, 1, 1], [0] * 11])
    mask = polytope_tables.fastest(steps)
    assert np.flatnonzero(mask[0]).tolist() == [1, 3]  # of 11 steps, rounded up
    assert mask[1].sum() == 2


@pytest.mark.parametrize(("changes", "gates"), [(100, 100), (1, 1), (0, 0)])
def test_gates_bunch_where_the_output_is_fast(changes: int, gates: float) -> None:
    raw = [made_up([2, 2, 2], changes=changes)]  # as many jumps as a tenth of the path has steps
    table = polytope_tables.bunching(raw, resamples=20, seed=0)
    found = row(table, read_site="post_norm", measure="gates")
    assert (found["pairs"], found["median"]) == (3, pytest.approx(gates))
    assert row(table, read_site="post_norm", measure="output")["median"] == pytest.approx(40)
    assert polytope_tables.pairs(raw)["bunching"].tolist() == pytest.approx([gates] * 3)


def test_a_path_that_passes_gates_nowhere_else_says_nothing_of_their_bunching() -> None:
    table, facts = made_up([2, 2])
    table["passed_by_step"] = [np.where(np.arange(20) == 3, 9, 0), table["passed_by_step"][1]]
    found = polytope_tables.bunching([(table, facts)], resamples=20, seed=0)
    assert row(found, read_site="post_norm", measure="gates")["pairs"] == 1


def test_the_profile_stands_about_the_fastest_step() -> None:
    profile = polytope_tables.profile([made_up([1, 1], changes=50)]).set_index("away")
    mean = {"gates": (50 + 19) / 20, "output": (40 + 19) / 20}
    assert profile.loc[0, "gates"] == pytest.approx(50 / mean["gates"])
    assert profile.loc[0, "output"] == pytest.approx(40 / mean["output"])
    assert profile.loc[2, ["gates", "output"]].tolist() == pytest.approx(
        [1 / mean["gates"], 1 / mean["output"]]
    )
    assert profile.loc[[-3, -4], "pairs"].tolist() == [2, 0]  # the jump is the fourth step


def test_pairs_say_what_was_counted() -> None:
    table = polytope_tables.pairs([made_up([0, 2])])
    assert table["boundaries"].tolist() == [0, 2]
    assert table["mismatch_last"].tolist() == [3, 3]
    assert table["passed_all"].tolist() == [20, 218]
    assert stacked(made_up([2])[0]["step_post_norm"]).max() == 40
