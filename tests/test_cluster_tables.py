"""Tables of clusters on made-up raw matrices: what is known of the kinds is found, and no more."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from stable_regions.base.errors import UserError
from stable_regions.experiments.pairwise import tables
from stable_regions.measures.paths import DISTANCES

KINDS = np.repeat(["red", "dog", "run", "two"], 8)
N, CONTEXTS, STEPS = len(KINDS), 3, 6
UPPER = np.triu_indices(N, 1)


def prompt_table(contexts=CONTEXTS):
    rng = np.random.default_rng(9)
    one = pd.DataFrame(
        {
            "word": [f"w{i}" for i in range(N)],
            "kind": KINDS,
            "part_of_speech": np.where(KINDS == "run", "verb", "noun"),
            "log_frequency": rng.random(N),
            "tokens": [[0, i] for i in range(N)],
        }
    )
    return pd.concat([one.assign(context=c) for c in range(contexts)], ignore_index=True)


def raw(apart, seed=0, contexts=CONTEXTS):
    """Points about the kinds' centres as outputs, but none in the input; straight paths."""
    rng = np.random.default_rng(seed)
    centres = apart * rng.normal(size=(4, 6))
    kind = np.unique(KINDS, return_inverse=True)[1]
    names = ("directed_post_norm", "step_post_norm", "distance_post_norm", "input")
    result: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _ in range(contexts):
        points = centres[kind] + rng.normal(size=(N, 6))
        output = cdist(points, points)
        between = output[UPPER][:, None]
        result["directed_post_norm"].append(output)
        result["distance_post_norm"].append(between * np.linspace(0, 1, STEPS))
        result["step_post_norm"].append(np.repeat(between, STEPS - 1, axis=1) / (STEPS - 1))
        noise = rng.normal(size=(N, 6))
        result["input"].append(cdist(noise, noise))
    arrays = {name: np.stack(value)[None] for name, value in result.items()}
    arrays["geometry.2"] = arrays["directed_post_norm"][0]
    for name in ("max_slope", "barrier", "length"):
        arrays[f"fine_{name}_post_norm"] = rng.random((1, 12, 1)) * [0.8, 0.9, 1.0, 1.0]
    arrays["top_token"] = np.tile(kind, contexts)
    return arrays


STATES = {"min_cluster_size": 4, "min_samples": 3, "draws": 20, "seed": 0}


def states_of(groups, regions, contexts=1):
    """`tables.states` of outputs in tight groups, where the clusters by barrier are given."""
    places = 100.0 * np.asarray(groups)[:, None] + np.random.default_rng(0).normal(size=(N, 6))
    labels = pd.DataFrame(
        [
            {"layer": 0, "distance": name, "context": c, "prompt": i, "label": label}
            for name, some in (("input", np.zeros(N, int)), ("barrier", regions))
            for c in range(contexts) for i, label in enumerate(some)
        ]
    )  # fmt: skip
    outputs = np.stack([cdist(places, places)] * contexts)
    return tables.states(outputs, labels, **STATES).set_index("measure")


FOURS = np.repeat(np.arange(4), 8)


@pytest.mark.parametrize("contexts", [1, 2])
def test_states_that_are_the_regions_agree_with_them(contexts):
    table = states_of(FOURS, FOURS[::-1], contexts)  # numbered the other way round
    assert table.loc[["states", "regions", "states per region"], "value"].tolist() == [4, 4, 1]
    assert table.loc["ari", ["value", "ci_low", "ci_high"]].tolist() == pytest.approx([1, 1, 1])
    assert table.loc["ari", "chance_high"] < 0.5
    assert table["contexts"].eq(contexts).all()


def test_regions_that_lead_to_one_state_are_counted():
    table = states_of(FOURS // 2, FOURS)
    assert table.loc["states per region", "value"] == 0.5
    assert 0 < table.loc["ari", "value"] < 1


def test_states_and_regions_that_have_nothing_in_common_agree_by_chance():
    table = states_of(FOURS, np.tile(np.arange(4), 8))
    ari = table.loc["ari"]
    assert ari["chance_low"] - 0.1 < ari["value"] < ari["chance_high"]
    assert table.loc["states per region", "value"] == 1


def test_noise_is_no_state_and_without_clusters_there_is_no_agreement():
    regions = np.where(FOURS == 3, -1, FOURS)
    table = states_of(FOURS, regions)
    measures = ["states", "regions", "noise of states", "noise of regions"]
    assert table.loc[measures, "value"].tolist() == [4, 3, 0, 0.25]
    nothing = states_of(FOURS, np.full(N, -1))
    assert set(nothing.index) == {"states", "regions", "noise of states", "noise of regions"}


def made(apart, contexts=CONTEXTS):
    arrays = raw(apart, contexts=contexts)
    prompts = tables.Prompts.of(
        prompt_table(contexts), arrays["top_token"], ["kind", "part_of_speech", "top_token"]
    )
    matrices = tables.matrices(arrays, [0])
    result = tables.clusters(matrices, prompts, min_cluster_size=4, min_samples=3)
    return matrices, prompts, result


@pytest.fixture(scope="module")
def structured():
    return made(8.0)


def test_every_distance_is_there_and_a_straight_path_is_its_ends(structured):
    matrices, _, _ = structured
    assert DISTANCES == ("input", "output", "max slope", "barrier", "length")
    assert list(matrices) == [(0, name) for name in (*DISTANCES, "layer 2")]
    for name in ("barrier", "length", "layer 2"):
        np.testing.assert_allclose(matrices[0, name], matrices[0, "output"])
    off = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose(matrices[0, "max slope"][:, off], 1)


def test_outputs_know_the_kinds_and_inputs_do_not(structured):
    matrices, prompts, result = structured
    table = tables.scores(matrices, result["labels"], prompts, draws=20, seed=0)
    rows = table.set_index(["distance", "labels", "score"])
    for name in ("output", "barrier"):
        for score in ("ari", "neighbours"):
            row = rows.loc[(name, "kind", score)]
            assert row["value"] > 0.9
            assert row["ci_low"] > row["chance_high"]
            assert row["p"] == pytest.approx(1 / 21)
    row = rows.loc[("input", "kind", "neighbours")]
    assert row["chance_low"] - 0.05 < row["value"] < row["chance_high"] + 0.05
    assert row["p"] > 1 / 21
    assert (table["ci_low"] <= table["value"] + 1e-9).all()
    assert set(table["contexts"]) == {CONTEXTS}


def test_comparison_tells_outputs_from_inputs_and_not_from_themselves(structured):
    matrices, prompts, result = structured
    table = tables.comparisons(matrices, result["labels"], prompts, draws=20, seed=0)
    assert set(table["labels"]) == {"kind", "part_of_speech", "top_token"}
    rows = table.set_index(["distance", "against", "labels", "score"])
    better = rows.loc[("barrier", "input", "kind", "neighbours")]
    assert better["ci_high"] > better["difference"] > better["ci_low"] > 0.5
    assert better["p"] < 0.15  # four kinds can be swapped in sixteen ways
    same = rows.loc[("barrier", "output", "kind", "neighbours")]
    assert same["difference"] == pytest.approx(0)


def test_distances_are_compared_in_one_context_too():
    matrices, prompts, result = made(8.0, contexts=1)
    table = tables.comparisons(matrices, result["labels"], prompts, draws=20, seed=0)
    rows = table.set_index(["distance", "against", "labels", "score"])
    assert rows.loc[("barrier", "input", "kind", "neighbours")]["ci_low"] > 0.5


def test_labels_that_change_with_the_context_have_no_units_to_swap():
    arrays = raw(8.0)
    arrays["top_token"] = np.arange(N * CONTEXTS)
    prompts = tables.Prompts.of(prompt_table(), arrays["top_token"], ["kind", "top_token"])
    matrices = tables.matrices(arrays, [0])
    result = tables.clusters(matrices, prompts, min_cluster_size=4, min_samples=3)
    assert set(
        tables.comparisons(matrices, result["labels"], prompts, draws=20, seed=0)["labels"]
    ) == {"kind"}
    assert set(tables.confounded(matrices, prompts, seed=0)["labels"]) == {"kind"}


def test_kinds_are_told_apart_beyond_the_confounders_only_where_they_are(structured):
    for (matrices, prompts, _), there in ((structured, True), (made(0.0), False)):
        rows = tables.confounded(matrices, prompts, seed=0).set_index(
            ["distance", "labels", "given"]
        )
        row = rows.loc[("barrier", "kind", "frequency, token id, input")]
        assert (row["p"] < 0.01) == there
        assert (row["correlation"] > 0.3) == there
        assert ("input", "kind", "frequency, token id, input") not in rows.index


def test_sweep_grids_and_map(structured):
    matrices, prompts, result = structured
    sweep = tables.sensitivity(matrices, prompts, min_cluster_sizes=[4, 12], min_samples=3)
    by_size = sweep[sweep["distance"] == "output"].set_index("min_cluster_size")
    assert by_size.loc[4, "ari"] > 0.9 > by_size.loc[12, "ari"]  # no kind has twelve words
    grids = tables.grids(raw(8.0), [0], [6, 11, 26, 51])
    barrier = grids[grids["measure"] == "barrier"]
    assert barrier["median"].tolist() == pytest.approx([0.8, 0.9, 1, 1])
    assert barrier["rank_correlation"].tolist() == pytest.approx([1] * 4)
    places = tables.maps(matrices, result["labels"], prompts)
    assert len(places) == 6 * N
    assert places["name"][0] == '"w0"'
    entries = tables.entries(matrices)
    assert len(entries) == 6 * N * (N - 1) // 2
    first = tables.first_trees(result["trees"])
    assert set(first["context"]) == {0}


def test_clusters_say_how_many_and_how_firm(structured):
    _, _, result = structured
    of = result["persistence"]
    some = of[(of["distance"] == "output") & (of["context"] == 0)]
    assert some["prompts"].sum() <= N
    assert some["persistence"].between(0, 1).all()
    labels = result["labels"]
    assert len(labels) == 6 * CONTEXTS * N
    assert labels["probability"].between(0, 1).all()


def test_paths_whose_ends_give_one_output_are_one_line():
    arrays = raw(8.0)
    arrays["distance_post_norm"][0, 0, 0] = 0
    with pytest.raises(UserError, match="1 pairs of prompts give one output at both ends"):
        tables.matrices(arrays, [0])


def test_prompts_that_are_there_twice_are_one_line():
    table = prompt_table()
    table.loc[table["word"] == "w1", "word"] = "w0"
    arrays = raw(8.0)
    prompts = tables.Prompts.of(table, arrays["top_token"], ["kind"])
    with pytest.raises(UserError, match="'w0'"):
        tables.clusters(tables.matrices(arrays, [0]), prompts, min_cluster_size=4, min_samples=3)
