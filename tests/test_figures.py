"""What all figures share: looks for any number of series, and texts that are no mathematics."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from stable_regions.experiments.interpolation.predictions import DIFFERS
from stable_regions.figures import (
    clustering,
    fig2,
    fig4,
    figA_directions,
    figA_meaning,
    figA_mixing,
    figA_polytopes,
    figA_robustness,
    figA_sharpness,
    figA_words_scores,
    style,
)

MODELS = [f"model-{i}" for i in range(8)]
SPREAD = {"pairs": 9, "median": 2.0, "q25": 1.5, "q75": 3.0, "ci_low": 1.9, "ci_high": 2.1}


def test_looks_differ_though_colours_come_round_again() -> None:
    looks = [style.look(i) for i in range(21)]
    assert len({(colour, marker) for colour, _, marker in looks}) == 21
    assert [colour for colour, *_ in looks[:7]] == [colour for colour, *_ in looks[7:14]]


def sharpness() -> tuple[pd.DataFrame, ...]:
    alpha = np.linspace(0, 1, 5)
    curves = [
        pd.DataFrame({"model": m, "layer": 0, "read_site": "post_norm", "alpha": alpha} | SPREAD)
        for m in MODELS
    ]
    slopes = [
        pd.DataFrame({"model": m, "layer": 0, "max_slope_post_norm": np.linspace(1, 9, 9)})
        for m in MODELS
    ]
    return pd.concat(curves), pd.concat(slopes)


def choices() -> tuple[pd.DataFrame, ...]:
    rows = [
        {"model": m, "choice": choice, "value": value, "change": change, "change_low": change,
         "change_high": change, "paired": True} | SPREAD
        for m in MODELS
        for choice, value, change in (("default", "default", np.nan), ("steps", "25", 1))
    ]  # fmt: skip
    return (pd.DataFrame(rows),)


def meaning() -> tuple[pd.DataFrame, ...]:
    slopes = [
        pd.DataFrame({"model": m, "layer": 0, "max_slope": [1.5, 3], "same_last_token": [0, 1]})
        for m in MODELS
    ]
    controls = [
        pd.DataFrame({"model": m, "layer": 0, "max_slope": [1.5, 3], "differs": differs})
        for m in MODELS for differs in DIFFERS
    ]  # fmt: skip
    names = ["step_region", "step_boundary", "within", "across", "ends"]
    told = pd.DataFrame(
        {"model": MODELS[0], "layer": 0, "measure": names, "pairs": 9, "value": 1.0, "ci_low": 0.9,
         "ci_high": 1.1}
    )  # fmt: skip
    return pd.concat(slopes), pd.concat(controls), told


def polytopes() -> tuple[pd.DataFrame, ...]:
    pairs = [pd.DataFrame({"model": m, "layer": 0, "mismatch_last": range(9)}) for m in MODELS]
    gates = [
        {"model": m, "layer": 0, "measure": measure, "read_layer": str(layer)} | SPREAD
        for m in MODELS for measure in ("passed", "mismatch") for layer in (1, 2)
    ]  # fmt: skip
    compared = [
        {"model": m, "layer": 0, "read_site": "post_norm", "definition": "speed > 2",
         "measure": measure} | SPREAD
        for m in MODELS for measure in ("per_boundary", "per_boundary_last")
    ]  # fmt: skip
    return pd.concat(pairs), pd.DataFrame(gates), pd.DataFrame(compared)


def directions() -> tuple[pd.DataFrame, ...]:
    rows = [
        {"model": m, "layer": 0, "base": base, "direction": direction, "distance": "post_norm",
         "part": "tenth", "bases": 9, "never": 0} | SPREAD
        for m in MODELS for base in ("real", "random") for direction in ("isotropic", "principal")
    ]  # fmt: skip
    reaches = pd.DataFrame(rows)
    curves = [reaches.drop(columns="part").assign(length=length) for length in (0, 0.1, 1)]
    return reaches, pd.concat(curves)


def mixtures() -> tuple[pd.DataFrame, ...]:
    rows = [
        {"model": m, "layer": 0, "direction": direction, "part": part, "bases": 9, "never": 0,
         "bounded": 0} | SPREAD
        for m in MODELS for part in ("tenth", "half") for direction in ("isotropic", "principal")
    ]  # fmt: skip
    exponents = pd.DataFrame(rows)
    by_angle = [
        exponents.drop(columns=["never", "bounded"]).assign(angle=angle) for angle in (0, 45, 90)
    ]
    return exponents, pd.concat(by_angle)


def words() -> tuple[pd.DataFrame, ...]:
    rows = [
        {"model": m, "layer": 0, "labels": "kind", "distance": distance, "score": score,
         "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "chance_low": 0.1, "chance_high": 0.2}
        for m in MODELS for distance in ("input", "barrier") for score in ("neighbours", "ari")
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table[table["model"] == MODELS[0]], table[table["model"] != MODELS[0]]


@pytest.mark.parametrize(
    ("module", "tables"),
    [
        (figA_sharpness, sharpness), (figA_robustness, choices), (figA_meaning, meaning),
        (figA_polytopes, polytopes), (figA_words_scores, words), (figA_directions, directions),
        (figA_mixing, mixtures),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)  # fmt: skip
def test_eight_models_have_a_figure_that_names_them(module, tables) -> None:
    data, figure = module.draw(*tables())
    figure.canvas.draw()
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes)]
    named = {text.get_text() for legend in legends if legend for text in legend.get_texts()}
    assert set(MODELS) <= named
    assert set(MODELS) <= set(data["model"].dropna())
    for legend in filter(None, legends):  # nothing is cut off
        box, page = legend.get_window_extent(), figure.bbox
        assert page.x0 <= box.x0 <= box.x1 <= page.x1
        assert page.y0 <= box.y0 <= box.y1 <= page.y1
    plt.close(figure)


def rendered(axes: plt.Axes) -> list[bool]:
    """For each text on the axes that has a dollar, whether it is set as mathematics."""
    texts = [*axes.texts, axes.title, axes._left_title, *axes.get_yticklabels()]  # type: ignore[attr-defined]
    legend = axes.get_legend()
    texts += legend.get_texts() if legend else []
    return [t._preprocess_math(t.get_text())[1] is not False for t in texts if "$" in t.get_text()]


def test_dollars_in_words_are_no_mathematics() -> None:
    words = ["$a$", "$b_x$", "c", "d"]
    _, axes = plt.subplots()
    clustering.draw_map(axes, np.eye(4)[:, :2], np.array([0, 0, 1, 1]), words)
    assert rendered(axes) == [False, False]
    _, axes = plt.subplots()
    kinds = np.array(["$k$"] * 4)
    clustering.draw_matrix(axes, np.eye(4), np.zeros(4, int), kinds)
    assert rendered(axes) == [False]
    plt.close("all")


def test_dollars_in_a_family_are_no_mathematics() -> None:
    models = pd.DataFrame(
        {"model": ["a", "b"], "name": ["a", "b"], "family": "$F$ of $", "source": "hub",
         "layers": [1, 2], "hidden_size": 8, "parameters": [10, 20], "tokens": None}
    )  # fmt: skip
    sharp = models[["model", "parameters"]].assign(layer=0, read_site="post_norm", **SPREAD)
    curves = pd.concat([sharp.assign(alpha=alpha) for alpha in (0.0, 1.0)])
    _, figure = fig4.draw(sharp.assign(), curves.drop(columns="parameters"), models)
    figure.canvas.draw()
    assert [rendered(axis) for axis in figure.axes] == [[False], [False]]
    plt.close("all")


def test_fig2_sets_the_pairs_apart_that_are_said_to_be_similar() -> None:
    """By what the configuration says of a pair, whatever its name; of the first model."""
    rows = [
        {"model": model, "layer": 0, "pair": pair, "alpha": alpha, "relative_post_norm": alpha,
         "normalised_logit_difference": 1 - alpha}
        for model in ("one", "two") for pair in ("Sharp", "Dull", "007") for alpha in (0.0, 1.0)
    ]  # fmt: skip
    data, figure = fig2.draw(pd.DataFrame(rows), similar=["Dull", "007"])
    labels = [[t.get_text() for t in axis.get_legend().get_texts()] for axis in figure.axes]
    assert labels == [["007", "Dull"], ["Sharp"], ["Sharp"]]
    assert set(data["model"]) == {"one"}
    _, figure = fig2.draw(pd.DataFrame(rows), similar=[])
    assert figure.axes[0].get_legend() is None
    plt.close("all")
