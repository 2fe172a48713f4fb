"""Distances between all prompts: against plain patching and interpolation, in any blocks."""

import numpy as np
import pandas as pd
import pytest
import torch

from stable_regions.base import files
from stable_regions.base.errors import UserError
from stable_regions.experiments.activations import cache
from stable_regions.experiments.interpolation.measure import interpolation_table
from stable_regions.experiments.pairwise import tables as cluster_tables
from stable_regions.experiments.pairwise.blocks import row_blocks
from stable_regions.experiments.pairwise.gather import gather
from stable_regions.experiments.pairwise.measure import (
    fine_grids,
    pairwise_arrays,
)
from stable_regions.experiments.pairwise.sample import sample
from stable_regions.experiments.sampling import Sampling
from stable_regions.measures.paths import PATH_MEASURES, path_measures
from stable_regions.models.sweep import full_forward
from stable_regions.prompts.draw import all_pairs
from tests.test_engine import PeakBytes

BUDGET = 2**24
LAYER, STEPS = 0, 6


def prompts_of(tokens, contexts=None):
    table = pd.DataFrame(
        {"prompt": range(len(tokens)), "text": [f"text {i}" for i in range(len(tokens))]}
    )
    table["tokens"] = [list(map(int, ids)) for ids in tokens]
    return table if contexts is None else table.assign(context=contexts)


@pytest.fixture
def unlike():
    """Seven prompts, each a context of its own."""
    return prompts_of(np.random.default_rng(0).integers(50, size=(7, 5)))


@pytest.fixture
def words():
    """The same four words in two contexts."""
    contexts = np.random.default_rng(1).integers(50, size=(2, 4))
    return prompts_of(
        [[*context, word] for context in contexts for word in range(4)], [0] * 4 + [1] * 4
    )


def measured(model, prompts, *, blocks=1, fine_pairs=5, budget=BUDGET):
    clean = cache(model, list(prompts["tokens"]), [LAYER, 1], budget=BUDGET)
    parts = [
        pairwise_arrays(
            model, prompts, clean, rows=rows, layers=[LAYER], geometry=[1], steps=STEPS,
            fine_pairs=fine_pairs, budget=budget,
        )
        for rows in row_blocks(prompts, blocks)
    ]  # fmt: skip
    return clean, gather([(part, {}) for part in parts], prompts)[0]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_directed_distances_are_those_of_plain_patching(model_of, unlike, family):
    model = model_of(family)
    clean, result = measured(model, unlike)
    for i, ids in enumerate(unlike["tokens"]):
        out = full_forward(model, LAYER, torch.tensor(ids), clean[f"resid.{LAYER}"], ["post_norm"])
        expected = (out["post_norm"] - out["post_norm"][i]).norm(dim=-1)
        np.testing.assert_allclose(result["directed_post_norm"][0, 0, i], expected, atol=1e-5)
    assert not np.allclose(result["directed_post_norm"][0, 0], result["directed_post_norm"][0, 0].T)


def test_paths_are_those_of_interpolation(model_of, words):
    model = model_of()
    clean, result = measured(model, words)
    pairs = all_pairs(words)
    raw = interpolation_table(
        model, words, pairs, clean, layers=[LAYER], steps=STEPS, logits=False, budget=BUDGET
    )
    for site in ("post_norm", "pre_norm"):
        for name in (f"distance_{site}", f"step_{site}"):
            ours = result[name][0].reshape(len(pairs), -1)
            np.testing.assert_allclose(ours, np.stack(raw[name]), atol=1e-5)


def test_ends_of_a_path_are_its_directed_distance(model_of, unlike):
    result = measured(model_of(), unlike)[1]
    upper = np.triu_indices(len(unlike), 1)
    np.testing.assert_allclose(
        result["distance_pre_norm"][0, 0, :, -1],
        result["directed_pre_norm"][0, 0][upper],
        rtol=1e-6,
    )
    assert (np.diagonal(result["directed_pre_norm"][0, 0]) == 0).all()


def test_words_of_one_context_are_as_far_one_way_as_the_other(model_of, words):
    directed = measured(model_of(), words)[1]["directed_post_norm"]
    assert directed.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(directed, directed.swapaxes(-1, -2), atol=1e-6)
    assert not np.allclose(directed[:, 0], directed[:, 1])


@pytest.mark.parametrize(("blocks", "budget"), [(2, BUDGET), (5, BUDGET), (1, 2**19)])
@pytest.mark.parametrize("which", ["unlike", "words"])
def test_blocks_and_batches_change_nothing(model_of, request, which, blocks, budget):
    prompts = request.getfixturevalue(which)
    whole = measured(model_of(), prompts)[1]
    cut = measured(model_of(), prompts, blocks=blocks, budget=budget)[1]
    assert whole.keys() == cut.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(cut[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


def test_what_lies_between_many_prompts_keeps_to_the_budget(model_of):
    model, budget = model_of(dtype="float32"), 2**21
    prompts = prompts_of(np.random.default_rng(0).integers(50, size=(150, 5)))
    ends = 2 * len(prompts) ** 2 * model.d_model * 4
    assert ends > 2 * budget
    with PeakBytes() as memory:
        result = measured(model, prompts, budget=budget)[1]
    kept = sum(value.nbytes for value in result.values())
    assert memory.peak <= 2 * budget + kept
    for name, value in measured(model, prompts, budget=2**30)[1].items():
        np.testing.assert_allclose(result[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_what_is_sampled_is_what_comes_out_again(model_of, tmp_path):
    """Of more prompts than a sample has, so that it finds each pair's place among all."""
    model, count = model_of(), 10
    contexts = np.random.default_rng(1).integers(50, size=(2, 4))
    prompts = prompts_of(
        [[*context, word] for context in contexts for word in range(count)],
        np.repeat([0, 1], count),
    )
    _, result = measured(model, prompts)
    facts = {
        "experiment": {"layers": [LAYER], "steps": STEPS},
        "compute": {"memory_budget_mb": BUDGET // 2**20},
    }

    def worst(arrays):
        files.write_arrays(tmp_path / "raw", arrays, {})
        job = Sampling(model, tmp_path / "raw", prompts, np.random.default_rng(0), 20, facts)
        return {each.quantity: each.worst for each in sample(job)}

    same = worst(result)
    assert {"distance_post_norm", "step_pre_norm", "states", "input", "directed_post_norm"} < {
        *same
    }
    assert max(same.values()) < 1
    name = "distance_post_norm"
    other = worst({**result, name: np.roll(result[name], 1, axis=2)})
    assert other.pop(name) > 1
    assert max(other.values()) < 1


def test_finer_grids_hold_the_coarse_one(model_of, words):
    result = measured(model_of(), words, fine_pairs=4)[1]
    assert fine_grids(STEPS) == [6, 11, 26, 51]
    assert result["fine_pair"].tolist() == [0, 3, 6, 9]
    coarse = path_measures(result["distance_post_norm"], result["step_post_norm"])
    for name, value in coarse.items():
        np.testing.assert_allclose(
            result[f"fine_{name}_post_norm"][0, :, 0],
            value.reshape(-1)[result["fine_pair"]],
            rtol=1e-5,
        )
    lengths = result["fine_length_post_norm"][0]
    assert (np.diff(lengths, axis=-1) >= -1e-6).all(), "a finer grid cuts fewer corners"


def test_a_new_measure_of_paths_is_kept(model_of, words, monkeypatch):
    monkeypatch.setitem(PATH_MEASURES, "furthest", lambda distance, step: distance.max(axis=-1))
    result = measured(model_of(), words, blocks=8)[1]  # the last row of a context has no pairs
    furthest = result["fine_furthest_post_norm"]
    assert furthest.shape == result["fine_barrier_post_norm"].shape
    finest = result["distance_post_norm"].reshape(-1, STEPS)[result["fine_pair"]]
    assert (furthest[0, :, -1] >= finest.max(axis=-1) - 1e-6).all()
    table = cluster_tables.grids(result, [LAYER], fine_grids(STEPS))
    assert set(table["measure"]) == {"max slope", "barrier", "length", "furthest"}
    assert (LAYER, "furthest") in cluster_tables.matrices(result, [LAYER])


def test_measures_of_a_straight_path_and_of_a_jump():
    straight = path_measures(np.array([0.0, 1, 2, 3]), np.array([1.0, 1, 1]))
    assert straight == {"max_slope": 1, "barrier": 3, "length": 3}
    jump = path_measures(np.array([0.0, 0, 4, 4]), np.array([0.0, 4, 0]))
    assert jump == {"max_slope": 3, "barrier": 12, "length": 4}
    assert np.isnan(path_measures(np.array([0.0, 1, 0]), np.array([1.0, 1]))["max_slope"])


def test_activations_are_compared_within_contexts(model_of, words):
    clean, result = measured(model_of(), words)
    assert result["input"].shape == (1, 2, 4, 4)
    for name, layer in (("input", LAYER), ("geometry.1", 1)):
        matrix = result[name].reshape(2, 4, 4)
        a, b = clean[f"resid.{layer}"][[5, 7]]
        assert matrix[1, 1, 3] == pytest.approx(float((a - b).norm()), rel=1e-9)
    assert result["top_token"].tolist() == clean["top_token"].tolist()


def test_states_are_the_outputs_of_clean_runs(model_of, words):
    model = model_of()
    clean, result = measured(model, words, blocks=3)
    assert result["states"].shape == (2, 4, 4)
    a, b = clean["post_norm"][[5, 7]]
    assert result["states"][1, 1, 3] == pytest.approx(float((a - b).norm()), rel=1e-9)
    # in one context a clean run's output is that of the patched one
    np.testing.assert_allclose(result["states"], result["directed_post_norm"][0], atol=1e-4)


def test_states_of_unlike_contexts_are_others_than_the_outputs_of_patched_runs(model_of, unlike):
    _, result = measured(model_of(), unlike)
    assert not np.allclose(result["states"][0], result["directed_post_norm"][0, 0], rtol=1e-2)


@pytest.mark.parametrize("blocks", [1, 3, 7])
def test_blocks_hold_every_row_once_and_about_as_many_pairs(unlike, blocks):
    result = row_blocks(unlike, blocks)
    assert [row for first, end in result for row in range(first, end)] == list(range(7))
    assert len(result) == blocks
    many = row_blocks(prompts_of(np.zeros((300, 2))), 4)
    pairs = [sum(300 - row for row in range(*rows)) for rows in many]
    assert max(pairs) < 1.05 * min(pairs)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (prompts_of([[1, 2], [1, 2], [3, 4]]), "'text 0'"),
        (prompts_of([[1, 2], [1, 2, 3]]), "2 to 3 tokens; they must be of one length"),
        (prompts_of([[1, 2], [1, 3], [3, 4]], [0, 0, 1]), "the same number of prompts"),
    ],
)
def test_bad_prompts_are_one_line(model_of, prompts, message):
    with pytest.raises(UserError, match=message) as error:
        measured(model_of(), prompts)
    assert "\n" not in str(error.value)


def test_more_blocks_than_rows_is_one_line(unlike):
    with pytest.raises(UserError, match="7 prompts cannot be cut into 8 blocks"):
        row_blocks(unlike, 8)
