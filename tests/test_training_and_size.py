"""Training, size, layers and choices: facts of checkpoints, and what their figures draw."""

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import LineCollection
from safetensors.torch import save_file

from stable_regions.base.errors import UserError
from stable_regions.figures import fig3, fig4, figA_layers, figA_losses, figA_robustness
from stable_regions.figures.medians import short
from stable_regions.models.facts import model_row, model_table, training_state


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


# Facts


@pytest.mark.parametrize(
    ("source", "revision", "state"),
    [
        ({}, "step1000-tokens4B", (1000, 4_000_000_000)),
        ({}, "step0-tokens0B", (0, 0)),
        ({}, "step7-tokens14K", (7, 14_000)),
        ({}, "step300-tokens20M", (300, 20_000_000)),
        ({}, "step738020-tokens3T", (738020, 3_000_000_000_000)),
        ({}, "main", (None, None)),
        ({}, "", (None, None)),
        ({}, "step5", (None, None)),
        ({"step": 5, "tokens": 10240}, "step5", (5, 10240)),
        ({"step": 0, "tokens": 0}, "step7-tokens7B", (0, 0)),
    ],
)
def test_training_state(source: dict, revision: str, state: tuple) -> None:
    assert training_state(source, revision) == state


def folder(where: Path, source: dict) -> Path:
    where.mkdir()
    sizes = {"num_hidden_layers": 2, "hidden_size": 4, "num_attention_heads": 2, "vocab_size": 8}
    config = {"model_type": "llama", "intermediate_size": 6, **sizes}
    (where / "config.json").write_text(json.dumps(config))
    facts = {"family": "f", "licence": "l", "source": {"kind": "local"}, **source}
    (where / "source.json").write_text(json.dumps(facts))
    save_file({"weight": torch.zeros(3, 5)}, where / "model.safetensors")
    return where


def test_model_table_knows_checkpoints(tmp_path: Path) -> None:
    folders = {
        "a@step8": folder(tmp_path / "a", {"step": 8, "tokens": 123_456_789_012}),
        "b@step1-tokens4B": folder(tmp_path / "b", {}),
        "c": folder(tmp_path / "c", {"source": {"kind": "hub", "revision": "abc"}}),
    }
    table = model_table([model_row(ref, where) for ref, where in folders.items()])
    assert list(table["name"]) == ["a", "b", "c"]
    assert list(table["revision"]) == ["step8", "step1-tokens4B", "abc"]
    assert table["tokens"].to_list()[:2] == [123_456_789_012, 4_000_000_000]
    assert pd.isna(table["tokens"][2])
    assert "123456789012" in table.to_csv(float_format="%.9g")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (512, "512"),
        (102_400, "102 k"),
        (3_276_800, "3.28 M"),
        (4e9, "4 B"),
        (2e12, "2 T"),
    ],
)
def test_short(number: float, text: str) -> None:
    assert short(number) == text


# Made-up tables


SIZES = {"small": 300_000, "middle": 900_000, "large": 2_500_000}


def slopes(median: float, **columns) -> dict:
    return {
        **columns, "pairs": 100, "median": median, "q25": median * 0.9, "q75": median * 1.2,
        "ci_low": median * 0.97, "ci_high": median * 1.03,
    }  # fmt: skip


def both_sites(rows: list[dict]) -> pd.DataFrame:
    """The same rows at both read sites; before the norm the slopes are other ones."""
    other = [{**row, "read_site": "pre_norm", "median": 99.0} for row in rows]
    return pd.DataFrame([*({**row, "read_site": "post_norm"} for row in rows), *other])


def curves_of(sharpness: pd.DataFrame) -> pd.DataFrame:
    alpha = np.linspace(0, 1, 11)
    parts = []
    for row in sharpness.itertuples():
        median = 1 / (1 + np.exp(-4 * row.median * (alpha - 0.5)))  # type: ignore[type-var]
        parts.append(
            pd.DataFrame(
                {"model": row.model, "layer": row.layer, "read_site": row.read_site, "pairs": 100,
                 "alpha": alpha, "median": median, "q25": median, "q75": median}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def trained(*, tokens: bool = True) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rows, models = [], []
    for name, parameters in SIZES.items():
        for step in (400, 0, 100):
            ref = f"{name}@step{step}"
            median = 1.05 + parameters / 2.5e6 * step / 400
            rows.append(slopes(median, model=ref, parameters=parameters, layer=0))
            models.append(
                {"model": ref, "name": name, "family": "suite", "layers": 4, "hidden_size": 64,
                 "parameters": parameters, "tokens": step * 2048 if tokens else None}
            )  # fmt: skip
    sharpness = both_sites(rows)
    return sharpness, curves_of(sharpness), pd.DataFrame(models)


def test_fig3_draws_the_smallest_and_the_largest_by_tokens() -> None:
    data, figure = fig3.draw(*trained())
    assert [axis.get_title(loc="left")[:9] for axis in figure.axes] == [
        "(a) small", "(b) large", "(c) sharp",
    ]  # fmt: skip
    for letter, name in (("a", "small"), ("b", "large")):
        part = data[data["panel"] == letter]
        assert set(part["name"]) == {name}
        assert list(part["tokens"].unique()) == [0, 204_800, 819_200]
    last = data[data["panel"] == "c"]
    assert len(last) == 9
    assert last["median"].max() < 99  # after the norm alone
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["0", "205 k", "819 k"]


def test_fig3_has_a_marked_place_for_no_tokens() -> None:
    _, figure = fig3.draw(*trained())
    axis = figure.axes[-1]
    assert axis.get_xscale() == "symlog"
    assert axis.get_xticks()[0] == 0
    assert axis.get_xticklabels()[0].get_text() == "0"
    figure.canvas.draw()
    places = axis.transData.transform([(t, 1) for t in (0, 1e5, 1e6)])[:, 0]
    left, right = axis.transAxes.transform([(0, 0), (1, 0)])[:, 0]
    assert left < places[0] < places[1] < right
    # every series begins at 0 and is logarithmic from the dotted line on
    assert all(line.get_xdata()[0] == 0 for line in axis.lines if line.get_marker() in "os D^")
    middle = axis.transData.transform((10**5.5, 1))[0]
    assert middle == pytest.approx((places[1] + places[2]) / 2)


def test_fig3_with_one_model_has_two_panels() -> None:
    sharpness, curves, models = trained()
    one = sharpness["model"].str.startswith("small")
    data, figure = fig3.draw(
        sharpness[one], curves[curves["model"].str.startswith("small")], models
    )
    assert len(figure.axes) == 2
    assert set(data["panel"]) == {"a", "b"}


def test_fig3_without_tokens_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="says how many tokens it saw"):
        fig3.draw(*trained(tokens=False))


WIDTHS = {"small": 64, "middle": 96, "large": 128}


def sized(families: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rows = [
        slopes(1 + SIZES[name] / 1e6, model=name, parameters=SIZES[name], layer=0)
        for name in families
    ]
    models = [
        {"model": name, "name": name, "family": family, "source": "hub", "layers": 4,
         "hidden_size": WIDTHS[name], "parameters": SIZES[name], "tokens": None}
        for name, family in families.items()
    ]  # fmt: skip
    sharpness = both_sites(rows)
    return sharpness, curves_of(sharpness), pd.DataFrame(models)


def test_fig4_gives_each_family_a_panel_and_all_the_last() -> None:
    data, figure = fig4.draw(*sized({"large": "suite", "small": "suite", "middle": "other"}))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["(a) suite", "(b) other", "(c) sharpness and size"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["300 k (4×64)", "2.5 M (4×128)"]
    last = data[data["panel"] == "c"]
    assert list(last["model"]) == ["small", "large", "middle"]
    assert data["parameters"].notna().all()


def test_fig4_with_one_family_has_two_panels() -> None:
    _, figure = fig4.draw(*sized(dict.fromkeys(SIZES, "suite")))
    assert len(figure.axes) == 2


def test_fig4_shows_models_that_are_in_no_series() -> None:
    """The second model of a size is no point of a curve, but its max slope is drawn."""
    sharpness, curves, models = sized(dict.fromkeys(SIZES, "suite"))
    same = models["model"] == "middle"
    models.loc[same, ["layers", "hidden_size"]] = [4, WIDTHS["small"]]
    data, figure = fig4.draw(sharpness, curves, models)
    assert set(data.loc[data["panel"] == "a", "model"]) == {"small", "large"}
    last = data[data["panel"] == "b"].set_index("model")
    assert set(last.index) == set(SIZES)
    assert last.loc["middle", "series"] == "in no series"
    [line] = [line for line in figure.axes[-1].lines if line.get_label() == "in no series"]
    assert line.get_linestyle() == "None"


def test_layers_are_drawn_for_both_sites_and_every_model() -> None:
    rows = [
        slopes(3 - layer / 10, model=model, layer=layer)
        for model in ("real", "twin")
        for layer in (0, 6)
    ]
    sharpness = both_sites(rows)
    data, figure = figA_layers.draw(sharpness, curves_of(sharpness))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["0", "6"]
    assert set(data.loc[data["panel"] == "a", "model"]) == {"real"}
    assert (data.loc[data["panel"] == "c", "median"] == 99).all()
    assert list(data.loc[data["panel"] == "b", "layer"]) == [0, 6, 0, 6]


def test_losses_are_smoothed_and_held_out_points_kept() -> None:
    steps = np.arange(101)
    losses = pd.DataFrame(
        {
            "model": "small",
            "step": steps,
            "tokens": steps * 2048,
            "train_loss": np.where(steps == 0, np.nan, 5 + (-1.0) ** steps),
            "held_out_loss": np.where(steps % 50 == 0, 5.5, np.nan),
        }
    )
    data, _ = figA_losses.draw(losses)
    assert data["train_loss_smoothed"].iloc[0] != data["train_loss_smoothed"].iloc[0]  # NaN
    assert data["train_loss_smoothed"].iloc[-1] == pytest.approx(5)
    assert data["held_out_loss"].notna().sum() == 3


def chosen(models: list[str]) -> pd.DataFrame:
    rows = []
    for model in models:
        for choice, value, change in (
            ("default", "default", np.nan),
            ("read_site", "pre_norm", -0.5),
            ("read_site", "logits", 0.0),
            ("steps", "25", 0.25),
        ):
            median = 4 if np.isnan(change) else 4 + change
            row = slopes(median, model=model, choice=choice, value=value, paired=True)
            rows.append({**row, "change": change, "change_low": change, "change_high": change})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("models", [["one"], ["one", "two"]])
def test_choices_have_a_row_each_at_the_same_height_in_both_panels(models: list[str]) -> None:
    data, figure = figA_robustness.draw(chosen(models))
    left, right = figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["default", "read site: before the norm", "read site: logits", "steps: 25"]
    points = [line for line in right.lines if line.get_marker() not in ("None", "")]
    assert [list(line.get_xdata()) for line in points] == [[-0.5, 0.0, 0.25]] * len(models)
    # the same choice is at the same height left and right
    whole = [line for line in left.lines if line.get_marker() not in ("None", "")]
    for line, all_of in zip(points, whole, strict=True):
        assert list(line.get_ydata()) == list(all_of.get_ydata())[1:]
    # bars lie where the points do
    bars = [c for c in right.collections if isinstance(c, LineCollection)]
    for line, bar in zip(points, bars, strict=True):
        assert [path[0][1] for path in bar.get_segments()] == list(line.get_ydata())
    assert len(data) == 4 * len(models)
