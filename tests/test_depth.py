"""Paths read after every layer: against plain patching, tables of known paths, and rival laws."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from stable_regions.experiments.depth.measure import depth_table, read_layers
from stable_regions.experiments.depth.tables import explained, rate, splits, tabulate_reads
from stable_regions.experiments.interpolation.measure import path_points
from stable_regions.measures.laws import LAWS, left_out_error
from stable_regions.measures.paths import alphas
from stable_regions.models.check import TOLERANCE
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, full_forward
from stable_regions.paper import claims
from stable_regions.paper.ledger import Law

BUDGET = 2**22
STEPS = 6
SAMPLING = {"resamples": 50, "seed": 0}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("layer", [0, 1])
def test_each_layer_is_read_as_by_plain_patching(
    model_of: Callable[..., Model], family: str, layer: int
) -> None:
    model = model_of(family)
    tokens = torch.arange(3 * 5).reshape(3, 5)
    start = clean(model, tokens, [layer], budget=BUDGET)[f"resid.{layer}"]
    end = start.roll(-1, 0)
    result = read_layers(model, tokens, start, end, layer=layer, steps=STEPS, budget=BUDGET)
    points = path_points(start, end, torch.as_tensor(alphas(STEPS)))
    layers = range(layer + 1, model.n_layers)
    tolerance = TOLERANCE[model.dtype]
    for pair in range(len(tokens)):
        out = full_forward(model, layer, tokens[pair], points[pair], [f"resid.{n}" for n in layers])
        outputs = torch.stack([out[f"resid.{n}"] for n in layers])
        distance = torch.linalg.vector_norm(outputs - outputs[:, :1], dim=-1).flatten()
        step = torch.linalg.vector_norm(outputs.diff(dim=1), dim=-1).flatten()
        for name, plain in (("distance_reads", distance), ("step_reads", step)):
            scale = float(plain.max())
            np.testing.assert_allclose(result[name][pair], plain, atol=tolerance * scale)


def test_the_last_layer_is_the_output_before_the_norm(model_of: Callable[..., Model]) -> None:
    model = model_of()
    prompts = pd.DataFrame({"prompt": range(3), "tokens": torch.arange(15).reshape(3, 5).tolist()})
    pairs = pd.DataFrame({"pair": ["0", "1"], "prompt_a": [0, 1], "prompt_b": [1, 2]})
    runs = clean(model, torch.tensor(prompts["tokens"]), [0, 1], budget=BUDGET)
    table = depth_table(model, prompts, pairs, runs, layers=[0, 1], steps=STEPS, budget=BUDGET)
    assert list(table["layer"]) == [0, 0, 1, 1]
    for row in table.to_dict("records"):
        reads = model.n_layers - 1 - row["layer"]
        by_layer = row["distance_reads"].reshape(reads, STEPS)
        np.testing.assert_array_equal(by_layer[-1], row["distance_pre_norm"])
        assert (by_layer[:, 0] == 0).all()


def made_up(model: str, *layers: list[float], pairs: int = 12) -> tuple[pd.DataFrame, dict]:
    """Paths of 11 points whose max slope is, by read layer, as given, for each write layer.

    A step in the middle takes so much of the way, the others take the rest.
    """
    rows = []
    for layer, slopes in enumerate(layers):
        steps = []
        for slope in slopes:
            high = slope / 10
            step = np.full(10, (1 - high) / 9)
            step[4] = high
            steps.append(step)
        distance = [np.pad(step.cumsum(), (1, 0)) for step in steps]
        for pair in range(pairs):
            rows.append(
                {"pair": str(pair), "layer": layer, "prompt_a": 2 * pair, "prompt_b": 2 * pair + 1,
                 "distance_reads": np.concatenate(distance), "step_reads": np.concatenate(steps)}
            )  # fmt: skip
    return pd.DataFrame(rows), {"model": model, "alpha": alphas(11).tolist()}


def test_a_steady_growth_gives_its_rate_and_explains_all() -> None:
    medians = np.exp(0.1 * np.arange(1, 9))
    assert rate(medians) == pytest.approx(0.1)
    assert explained(medians) == pytest.approx(1)
    assert rate(np.ones(8)) == 0
    assert explained(np.array([2.0, 1.0])) < 0.5  # sharp at once, and then no more


def test_tables_by_read_layer_have_slopes_and_boundaries() -> None:
    growing = [1.2, 1.44, 1.728, 2.0736]
    reads, rates = tabulate_reads([made_up("m", growing, [1.0, 3.0])], **SAMPLING)
    assert list(reads["read_layer"]) == [1, 2, 3, 4, 2, 3]
    assert list(reads["between"]) == [1, 2, 3, 4, 1, 2]
    assert list(reads["median"]) == pytest.approx([*growing, 1, 3])
    assert list(reads["boundaries"]) == [0, 0, 0, 1, 0, 1]
    assert (reads["ci_low"] == reads["ci_high"]).all()  # the paths are all alike
    assert rates.loc[0, "rate"] == pytest.approx(np.log(1.2))
    assert rates["pairs"].tolist() == [12, 12]


def test_only_what_was_a_boundary_halfway_can_be_split() -> None:
    boundaries = np.array([[0, 0, 0, 3], [0, 1, 2, 2], [1, 1, 1, 1]], dtype=np.float64)
    assert splits(boundaries).tolist() == [1, 0]


def cells(law: str, sizes: dict[str, int]) -> tuple[list[tuple[pd.DataFrame, dict]], pd.DataFrame]:
    """Raw outputs of models of these depths that obey a law, and the table of models."""
    raw, rows = [], []
    for number, (name, layers) in enumerate(sizes.items()):
        width = [32, 64, 128][number % 3]
        between = np.arange(1, layers)
        logs = {
            "layers between": 0.03 * between,
            "share of the depth": 0.6 * between / (layers - 1),
            "width": np.full(layers - 1, 0.1 * np.log(width)),
        }[law]
        raw.append(made_up(f"{name}@step9", list(np.exp(logs))))
        rows.append(
            {"model": f"{name}@step9", "name": name, "family": "f", "source": "train", "step": 9,
             "tokens": 900, "layers": layers, "hidden_size": width,
             "parameters": 12 * layers * width**2, "held_out_loss": 5.0 - 0.1 * number}
        )  # fmt: skip
    return raw, pd.DataFrame(rows)


def ratios(law: str, read_layers: str, **changes: Any) -> dict[str, float]:
    raw, models = cells(law, {"a": 4, "b": 8, "c": 8, "d": 16, "e": 24, "f": 6})
    test = Law.model_validate(
        {
            "test": "law", "estimand": "error", "raw": "depth", "columns": ["distance_reads"],
            "rivals": ["share of the depth", "width", "parameters", "loss"],
            "read_layers": read_layers, "above": 1, "reason": "r", "needs": "n",
        }
    )  # fmt: skip

    def draw(values: np.ndarray, **how: Any) -> np.ndarray:
        return np.array([how["statistic"](values, 0)] * 3)

    made = claims.law(test, raw, models.assign(**changes), draw)
    return {one.of: one.value for one in made}


def test_the_law_that_made_the_data_predicts_best() -> None:
    counted = ratios("layers between", "all")
    assert all(value > 1e3 for value in counted.values()), counted
    shared = ratios("share of the depth", "all")
    assert shared["share of the depth"] < 1e-3
    assert ratios("width", "last")["width"] < 1e-3
    assert ratios("layers between", "last")["loss"] > 1e3


def test_a_loss_that_is_not_known_is_no_rival() -> None:
    assert "loss" not in ratios("layers between", "all", held_out_loss=np.nan)


def test_too_few_models_decide_no_law() -> None:
    raw, models = cells("width", {"a": 4, "b": 8, "c": 16})
    test = {
        "test": "law", "estimand": "error", "raw": "depth", "columns": ["distance_reads"],
        "rivals": ["width"], "read_layers": "last", "above": 1, "reason": "r", "needs": "n",
    }  # fmt: skip
    assert claims.law(Law.model_validate(test), raw, models, lambda *_, **__: np.ones(3)) == []


def test_a_model_left_out_is_not_fitted() -> None:
    """The last model's cell is far off: it is predicted from the others, who know nothing of it."""
    logs, model = np.array([1.0, 2.0, 30.0]), np.array([0, 1, 2])
    between = np.array([1.0, 2.0, 3.0])
    facts = {"between": between, "layers": between + 1}
    error = left_out_error(logs, LAWS["layers between"](facts), model)
    off = [(30 * 3 + 2 * 2) / 13 * 1 - 1, (1 + 90) / 10 * 2 - 2, 3 - 30]
    assert error == pytest.approx(np.sqrt(np.mean(np.square(off))))
