"""The benchmark of growth: what jobs take, beside the plan."""

from dataclasses import replace

import pytest
import torch

from benchmarks.scale import PATHS, Case, cases, exponents, measured, planned, run
from stable_regions.base.files import read_json
from stable_regions.experiments.interpolation.measure import output_movement, sweep_paths
from stable_regions.models.shapes import shape_of
from tests.models import D_MODEL, make_model
from tests.test_engine import PeakBytes, tokens

BUDGET = 2**29


def test_the_plan_grows_as_pairs_do_and_as_the_square_of_prompts(tmp_path):
    shape = shape_of(read_json(make_model(tmp_path) / "config.json"))

    def exponent(case: Case) -> float:
        rows = [
            {"grows": "number", "size": number, "cpu_s": 1.0}
            | planned(replace(case, number=number), shape, BUDGET)
            for number in (500, 1000)
        ]
        return exponents(rows)["operations_exponent"]

    assert exponent(PATHS) == exponent(Case("activations", 1)) == 1
    assert exponent(Case("pairwise", 1)) == pytest.approx(2, abs=0.02)


def test_sizes_rise_within_a_series_and_the_last_model_has_most_of_them(tmp_path):
    models = {name: make_model(tmp_path / name, n_layers=n) for name, n in (("a", 4), ("b", 3))}
    some = [(grows, name, size) for grows, name, size, _ in cases(models, whole=True)]
    assert [name for grows, name, _ in some if grows == "weights"] == ["b", "a"]
    for name in models:
        pairs = [size for grows, model, size in some if (grows, model) == ("pairs", name)]
        assert pairs == sorted(pairs)
        assert pairs[-1] == 10_000
    assert {name for grows, name, _ in some if grows in ("steps", "tokens", "prompts")} == {"b"}
    assert ("pairwise prompts", "a", 1000) in some
    assert ("pairs, whole", "b", 10_000) in some


@pytest.mark.process
@pytest.mark.parametrize("kind", ["activations", "interpolation", "pairwise"])
def test_what_a_job_takes_stands_beside_the_plan(tmp_path, kind):
    row = measured(make_model(tmp_path), Case(kind, 20, steps=4), threads=1)
    assert row["cpu_s"] > 0
    assert 0 < row["peak_mb"] < row["planned_mb"]
    assert row["points"] >= 20 * 4
    assert row["operations"] > 0


def test_memory_does_not_grow_with_pairs_but_for_their_activations_and_outputs(tmp_path):
    folder = make_model(tmp_path)
    peaks = []
    for number in (4000, 10_000):
        with PeakBytes() as memory:
            run(folder, replace(PATHS, number=number), threads=1, budget=BUDGET)
        peaks.append(memory.peak)
    vectors, values, tokens = 8 * D_MODEL * 4, 4 * PATHS.steps * 4, 2 * PATHS.tokens * 8
    assert peaks[1] - peaks[0] < 6000 * (vectors + values + tokens)


def test_nothing_of_a_batch_is_held_once_its_outputs_are_kept(model_of):
    live = []

    def reduce(rows, out):
        live.append(memory.live)
        return output_movement(out)

    start, end = torch.randn(2, 40, D_MODEL)
    with PeakBytes() as memory:
        kept = sweep_paths(
            model_of(), tokens(40), start, end, ("post_norm", "pre_norm"), reduce,
            layer=0, steps=5, budget=2**18,
        )  # fmt: skip
    assert len(live) > 5
    assert kept["distance_post_norm"].shape == (40, 5)
    assert live[-2] - live[2] < sum(values.nbytes for values in kept.values()) / 4
