"""Clusters and scores on made-up distances with known answers, both ways."""

from functools import partial

import hdbscan
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn import metrics
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from stable_regions.base.errors import UserError
from stable_regions.figures import clustering as figures
from stable_regions.measures import clusters as cl

KINDS = np.repeat(np.arange(6), 12)


def points(seed, apart, kinds=KINDS):
    """[n, 5] normal points about centres of their kinds; `apart` 0 puts all kinds in one place."""
    rng = np.random.default_rng(seed)
    return apart * rng.normal(size=(6, 5))[kinds] + rng.normal(size=(len(kinds), 5))


def matrix(x):
    return cl.symmetrise(cdist(x, x))


def found(distances, size=5, samples=4):
    return cl.cluster(distances, min_cluster_size=size, min_samples=samples)


def together(labels):
    """[n, n] partition as such: the same cluster or not, and noise on the diagonal."""
    return (labels[:, None] == labels) & (labels >= 0)


def test_clusters_are_the_kinds_where_there_are_kinds():
    result = found(matrix(points(0, 8.0)))
    scores = cl.partition_scores(result.labels, KINDS)
    assert scores["ari"] > 0.95
    assert scores["clusters"] == 6 == len(result.persistence)


def test_no_agreement_where_kinds_are_not_in_the_distances():
    scores = cl.partition_scores(found(matrix(points(0, 0.0)), 5, 1).labels, KINDS)
    assert abs(scores["ari"]) < 0.1


@pytest.mark.parametrize(("size", "samples"), [(2, 1), (4, 4), (6, 3)])
@pytest.mark.parametrize("decimals", [12, 0, -1], ids=["distinct", "tied", "many zeros"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_prompts_changes_nothing(size, samples, decimals, seed):
    distances = matrix(np.round(points(seed, 2.0), decimals))
    order = np.random.default_rng(seed).permutation(len(distances))
    one, two = (found(d, size, samples) for d in (distances, distances[order][:, order]))
    np.testing.assert_array_equal(together(one.labels[order]), together(two.labels))
    np.testing.assert_array_equal(one.probabilities[order], two.probabilities)
    np.testing.assert_array_equal(np.sort(one.persistence), np.sort(two.persistence))
    if decimals == 12:  # clusters of the very same shape have no order but that of their prompts
        np.testing.assert_array_equal(one.labels[order], two.labels)


def test_number_of_threads_changes_nothing():
    distances = matrix(points(0, 2.0))
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(found(distances))
    np.testing.assert_array_equal(results[0].labels, results[1].labels)
    np.testing.assert_array_equal(results[0].probabilities, results[1].probabilities)


def test_the_package_alone_depends_on_order_without_a_tie_in_the_distances():
    """Why the tree is built here; when this fails, `hdbscan` may have mended it."""
    changed = 0
    for seed in range(20):
        distances = matrix(points(seed, 2.0))
        order = np.random.default_rng(seed).permutation(len(distances))
        package = hdbscan.HDBSCAN(metric="precomputed", min_cluster_size=4, min_samples=4)
        one = package.fit(distances).labels_[order]
        changed += adjusted_rand_score(one, package.fit(distances[order][:, order]).labels_) < 1
    assert changed > 0


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_package_where_nothing_ties(seed):
    distances = matrix(points(seed, 2.0))  # with min_samples 1 reachability is the distance
    package = hdbscan.HDBSCAN(metric="precomputed", min_cluster_size=5, min_samples=1)
    package.fit(distances)
    ours = found(distances, 5, 1)
    assert adjusted_rand_score(package.labels_, ours.labels) == 1
    np.testing.assert_allclose(ours.probabilities, package.probabilities_)
    np.testing.assert_allclose(sorted(ours.persistence), sorted(package.cluster_persistence_))


def test_prompt_where_two_clusters_meet_belongs_to_neither():
    line = np.array([0.0, 1, 2, 3, 4, 8, 12, 13, 14, 15, 16])
    labels = found(matrix(line[:, None]), 5, 1).labels
    assert labels[5] == -1
    assert len({*labels[:5]}) == 1 == len({*labels[6:]})
    assert labels[0] != labels[10]


def test_tree_names_the_clusters_it_holds():
    result = found(matrix(points(1, 4.0)))
    nodes = result.tree[(result.tree["child_size"] > 1) & (result.tree["label"] >= 0)]
    assert nodes["label"].is_unique
    sizes = dict(zip(nodes["label"], nodes["child_size"], strict=True))
    assert sizes == {i: int((result.labels == i).sum()) for i in range(len(result.persistence))}
    leaves = result.tree[result.tree["child"] < len(KINDS)].set_index("child")["label"]
    np.testing.assert_array_equal(leaves.sort_index(), result.labels)


def with_value(value, i=1, j=2):
    distances = matrix(points(0, 1.0))
    distances[i, j] = distances[j, i] = value
    return distances


@pytest.mark.parametrize(
    ("distances", "settings_", "message"),
    [
        (with_value(np.nan), (5, 4), r"here: \[1, 2\] is nan \(2 such\); .* finite"),
        (with_value(-1.0), (5, 4), r"here: \[1, 2\] is -1.0 .* negative"),
        (with_value(0.5, 3, 3), (5, 4), r"here: \[3, 3\] is 0.5 .* itself must be 0"),
        (np.zeros((3, 4)), (5, 4), r"here: has shape \(3, 4\)"),
        (np.triu(with_value(1.0)), (5, 4), "here: is not symmetric"),
        (matrix(points(0, 1.0)[:4]), (5, 1), "here: min_cluster_size 5 for 4 prompts; take 2 to 4"),
        (matrix(points(0, 1.0)[:4]), (2, 4), "here: min_samples 4 for 4 prompts; take 1 to 3"),
    ],
)
def test_bad_matrix_or_setting_is_one_line(distances, settings_, message):
    size, samples = settings_
    with pytest.raises(UserError, match=message) as error:
        cl.cluster(distances, min_cluster_size=size, min_samples=samples, name="here")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [(["a", "b", "a"], "'a'"), (["a", "b"], "3 rows for 2 prompts")],
)
def test_prompts_must_fit_the_matrix(prompts, message):
    with pytest.raises(UserError, match=message):
        cl.check_distances(matrix(np.arange(3.0)[:, None]), prompts=prompts)


def test_noise_claims_nothing():
    all_noise = cl.partition_scores(np.full(len(KINDS), -1), KINDS)
    assert (all_noise["noise"], all_noise["clusters"]) == (1, 0)
    assert all_noise["ari"] == pytest.approx(0) == all_noise["ami"]
    half = cl.partition_scores(np.where(KINDS < 3, KINDS, -1), KINDS)
    assert half["homogeneity"] == pytest.approx(1)
    assert half["completeness"] < 1


@pytest.mark.parametrize(("labels", "kinds"), [([0, 1], "ab"), ([-1] * 4, "abcd"), ([0, 0], "aa")])
def test_partitions_that_cannot_differ_agree(labels: list[int], kinds: str) -> None:
    scores = cl.partition_scores(np.array(labels), list(kinds))
    assert [scores[name] for name in ("ari", "ami", "homogeneity", "completeness")] == [1] * 4


@pytest.mark.parametrize("noise", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("prompts", "kinds"), [(108, 18), (20, 3), (10, 10), (10, 1)])
def test_scores_are_those_of_the_package(prompts, kinds, noise):
    rng = np.random.default_rng(0)
    kinds, labels = rng.integers(kinds, size=prompts), rng.integers(5, size=prompts)
    labels = np.where(rng.random(prompts) < noise, -1, labels)
    alone = np.where(labels < 0, 10 + np.arange(prompts), labels)
    scores = cl.partition_scores(labels, kinds)
    assert list(scores.values())[:4] == pytest.approx(
        [
            metrics.adjusted_rand_score(kinds, alone),
            metrics.adjusted_mutual_info_score(kinds, alone),
            metrics.homogeneity_score(kinds, alone),
            metrics.completeness_score(kinds, alone),
        ],
        abs=1e-9,
    )


def test_neighbour_shares_by_hand_and_with_ties():
    line = matrix(np.array([0.0, 1, 2, 10])[:, None])
    two = cl.neighbours(line, k=2)
    np.testing.assert_allclose(cl.neighbour_shares(two, list("aabb")), [0.5, 0.5, 0, 0.5])
    # the outer two tie for the middle one's only neighbour
    one = cl.neighbours(line[:3, :3], k=1)
    np.testing.assert_allclose(one, [[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]])
    np.testing.assert_allclose(cl.neighbour_shares(one, list("aab")), [1, 0.5, 0])
    with pytest.raises(UserError, match="neighbours: .*4 .*4"):
        cl.neighbours(line, k=4)


def test_sweep_has_a_row_a_size():
    table = cl.sensitivity(
        matrix(points(0, 8.0)), KINDS, min_cluster_sizes=[3, 5, 13], min_samples=3
    )
    assert list(table["min_cluster_size"]) == [3, 5, 13]
    assert table["ari"].iloc[1] > 0.9 > table["ari"].iloc[2]  # no kind has 13 words


def test_interval_is_that_of_the_mean():
    """For a mean the half-sampling interval is the textbook one."""
    x = np.random.default_rng(0).normal(size=240)
    kinds = np.repeat(np.arange(2), 120)
    table = cl.score_intervals(lambda i, _: {"mean": x[i].mean()}, kinds, draws=1500, seed=0)
    assert table["value"][0] == pytest.approx(x.mean())
    assert table["high"][0] - table["low"][0] == pytest.approx(3.92 * x.std() / 240**0.5, rel=0.06)


def test_interval_over_contexts_is_that_of_their_mean():
    of_context = np.random.default_rng(0).normal(size=8)
    table = cl.score_intervals(
        lambda _, c: {"mean": of_context[c]}, KINDS, contexts=8, draws=1500, seed=0
    )
    error = of_context.std(ddof=1) / 8**0.5
    assert table["high"][0] - table["low"][0] == pytest.approx(3.92 * error, rel=0.1)


def test_shuffled_band_holds_chance_and_not_structure():
    for apart, least, most in [(8.0, 0.0, 0.011), (0.0, 0.05, 1.0)]:
        labels = found(matrix(points(2, apart)), 5, 1).labels
        band = cl.shuffled_band(
            partial(cl.partition_scores, labels),
            KINDS,
            draws=99,
            seed=0,
        ).set_index("score")
        assert least < band.loc["ari", "p"] <= most
        assert band.loc["ari", "low"] < 0 < band.loc["ari", "high"]


@pytest.mark.parametrize("noise", [0, 20])
def test_rand_of_counts_is_the_adjusted_rand_index(noise):
    labels = np.random.default_rng(0).integers(2, size=len(KINDS)) + KINDS // 2
    labels[::3][:noise] = -1
    sums = cl.rand_counts(labels, KINDS).sum(0)
    assert cl.rand_of_counts(sums) == pytest.approx(cl.partition_scores(labels, KINDS)["ari"])


def swapped(x, y):
    first, second = (
        cl.share_counts([cl.neighbour_shares(cl.neighbours(matrix(p), k=5), KINDS) for p in views])
        for views in (x, y)
    )
    return cl.swap_test(first, second, cl.share_of_counts, KINDS, draws=499, seed=0)


def test_swap_test_tells_a_better_distance_from_an_equal_one():
    rng = np.random.default_rng(0)
    x = points(4, 2.0)
    views = [x + rng.normal(size=x.shape) * 0.5 for _ in range(4)]
    blurred = [x + rng.normal(size=x.shape) * 4 for _ in range(2)]
    difference, p = swapped(views[:2], blurred)
    assert difference > 0.2
    assert p == pytest.approx(2 / 64, abs=0.02)  # six units: two of their 64 swaps are as large
    assert swapped(views[:2], views[2:])[1] > 0.1
    assert swapped(views[:2], views[:2]) == (0.0, 1.0)


def test_mantel_sees_kinds_and_not_a_confounder_of_theirs():
    rng = np.random.default_rng(0)
    frequency = KINDS + rng.normal(size=len(KINDS))
    of_frequency = matrix(np.c_[3 * frequency, points(5, 0.0)])
    assert cl.partial_mantel(of_frequency, KINDS, {}, draws=199, seed=0)[1] == 1 / 200
    assert cl.partial_mantel(of_frequency, KINDS, {"f": frequency}, draws=199, seed=0)[1] > 0.05
    both = matrix(np.c_[3 * frequency, points(5, 8.0)])
    r, p = cl.partial_mantel(both, KINDS, {"f": frequency, "g": of_frequency}, draws=199, seed=0)
    assert r > 0.3
    assert p == 1 / 200


def test_mantel_is_the_correlation_of_what_cubics_leave():
    frequency = KINDS + np.random.default_rng(0).normal(size=len(KINDS))
    distances = matrix(points(5, 1.0))
    upper = np.triu_indices(len(KINDS), 1)
    of_pairs = rankdata(np.abs(frequency[:, None] - frequency)[upper])
    left = [
        values - np.polyval(np.polyfit(of_pairs, values, 3), of_pairs)
        for values in (rankdata(distances[upper]), (KINDS[:, None] != KINDS)[upper])
    ]
    r, _ = cl.partial_mantel(distances, KINDS, {"f": frequency}, draws=1, seed=0)
    assert r == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-6)


def test_map_gives_back_a_plane():
    plane = np.random.default_rng(0).normal(size=(40, 2)) * [3, 1]
    places, shown = cl.classical_map(matrix(plane))
    np.testing.assert_allclose(matrix(places), matrix(plane), atol=1e-9)
    assert shown == pytest.approx(1)
    assert cl.classical_map(matrix(points(0, 1.0)))[1] < 0.8


def test_figures_show_what_they_are_given():
    names = np.array(list("abcdef"))[KINDS]
    distances = matrix(points(0, 8.0))
    result = found(distances)
    axes = plt.figure().subplots(1, 3)
    figures.draw_matrix(axes[0], distances, result.labels, names)
    assert sorted(t.get_text() for t in axes[0].get_yticklabels()) == list("abcdef")
    shown = axes[0].images[0].get_array()
    assert np.asarray(shown)[:12, :12].mean() < distances.mean() / 2  # a cluster comes first
    figures.draw_tree(axes[1], result.tree, result.labels, names)
    assert "0 " + figures.cluster_names(result.labels, names)[0] in {
        text.get_text() for text in axes[1].texts
    }
    places = cl.classical_map(distances)[0]
    figures.draw_map(axes[2], places, result.labels, names)
    assert len(axes[2].texts) == len(names) + len(result.persistence)
    maps = figures.draw_maps(
        {"input": places, "barrier": places},
        dict.fromkeys(("input", "barrier"), result.labels),
        names,
    )
    assert len(maps.axes) == 2
    plt.close("all")


def test_scores_are_drawn_with_chance_about_all_distances():
    table = pd.DataFrame(
        {
            "layer": [0, 1, 0, 1],
            "distance": ["input", "input", "barrier", "barrier"],
            "value": [0.1, 0.2, 0.5, 0.6],
            "low": [0.0, 0.1, 0.4, 0.5],
            "high": [0.2, 0.3, 0.6, 0.7],
        }
    )
    axes = plt.figure().subplots()
    figures.draw_scores(axes, table, table, along="layer")
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (0.0, 0.7)
    assert [text.get_text() for text in axes.get_legend().texts][1:] == ["input", "barrier"]
    plt.close("all")
