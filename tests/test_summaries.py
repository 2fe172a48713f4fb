"""Summaries of made-up raw data whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from stable_regions.experiments.interpolation import tables as summaries
from stable_regions.measures.paths import alphas
from stable_regions.paper import numbers

STEPS = 41


def raw(widths: list[float], **columns: object) -> tuple[pd.DataFrame, dict]:
    """Pairs whose distance rises linearly within the given width: max slope 1 / width."""
    grid = alphas(STEPS)
    curves = [
        np.interp(grid, [0.5 - w / 2, 0.5 + w / 2], [0, 3]) if w else 0 * grid for w in widths
    ]
    count = len(widths)
    table = pd.DataFrame(
        {
            "pair": [str(i) for i in range(count)],
            "layer": 0,
            "prompt_a": range(count),
            "prompt_b": range(1, count + 1),
            "tokens_a": [[5, i] for i in range(count)],
            "tokens_b": [[5, i + 1] for i in range(count)],
            "input_distance": 1.0,
            "distance_post_norm": curves,
            "distance_pre_norm": [3 * grid for _ in widths],
            **columns,
        }
    )
    return table, {"model": "m", "parameters": 7, "alpha": list(grid)}


def test_sharpness_of_known_ramps() -> None:
    table = summaries.sharpness([raw([1.0, 0.5, 0.25, 0.25, 0.5])], resamples=200, seed=0)
    post, pre = table.iloc[0], table.iloc[1]
    assert (post["read_site"], pre["read_site"]) == ("post_norm", "pre_norm")
    assert post["median"] == pytest.approx(2)
    assert (post["q25"], post["q75"]) == (pytest.approx(2), pytest.approx(4))
    assert post["ci_low"] <= post["median"] <= post["ci_high"]
    assert pre["median"] == pytest.approx(1)
    assert (pre["ci_low"], pre["ci_high"]) == (pytest.approx(1), pytest.approx(1))
    assert post["pairs"] == 5


def test_pairs_without_a_relative_distance_are_counted_apart() -> None:
    table = summaries.sharpness([raw([0.5, 0.0, 0.5])], resamples=50, seed=0)
    assert table.loc[0, ["pairs", "undefined"]].tolist() == [2, 1]
    assert table.loc[0, "median"] == pytest.approx(2)
    assert np.isfinite(summaries.curves([raw([0.5, 0.0])])["median"]).all()


def test_curves_are_medians_over_pairs() -> None:
    table = summaries.curves([raw([1.0, 1.0, 0.1])])
    post = table[table["read_site"] == "post_norm"]
    np.testing.assert_allclose(post["median"], alphas(STEPS), atol=1e-9)
    assert (post["q25"] <= post["median"] + 1e-12).all()


def test_one_row_a_pair() -> None:
    table = summaries.pairs([raw([0.5, 0.25])])
    assert table["last_token_a"].tolist() == [0, 1]
    assert table["last_token_b"].tolist() == [1, 2]
    np.testing.assert_allclose(table["max_slope_post_norm"], [2, 4])
    np.testing.assert_allclose(table["distance_post_norm"], [3, 3])


def test_paths_have_every_point() -> None:
    extra = {
        "logit_difference": [np.linspace(4, -4, STEPS)] * 2,
        "top_token": [np.arange(STEPS)] * 2,
    }
    table = summaries.paths([raw([1.0, 0.5], **extra)])
    assert len(table) == 2 * STEPS
    first = table[table["pair"] == "0"]
    np.testing.assert_allclose(first["relative_post_norm"], alphas(STEPS), atol=1e-9)
    np.testing.assert_allclose(first["normalised_logit_difference"], 1 - alphas(STEPS), atol=1e-9)


def test_numbers_are_looked_up_by_their_keys() -> None:
    table = pd.DataFrame({"model": ["a", "b"], "layer": [0, 0], "median": [1.5, np.nan]})
    result = numbers.collect({"t": (table, ["model", "layer"]), "u": (table, [])}, table, {"x": 1})
    assert result["tables"]["t"]["a"]["0"]["median"] == 1.5
    assert result["tables"]["t"]["b"]["0"]["median"] is None
    assert result["tables"]["u"][1] == {"model": "b", "layer": 0, "median": None}
    assert result["x"] == 1
