"""Frozen paths: against plain passes, their laws, and tables of made-up paths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.base.files import write_parquet
from stable_regions.experiments.activations import cache
from stable_regions.experiments.freezing import measure as freezing
from stable_regions.experiments.freezing import tables
from stable_regions.experiments.freezing.sample import sample
from stable_regions.experiments.freezing.settings import Settings, conditions
from stable_regions.experiments.interpolation.measure import interpolate
from stable_regions.experiments.sampling import Sampling
from stable_regions.figures import figA_freezing
from stable_regions.measures.conventions import EMBEDDING
from stable_regions.measures.paths import alphas
from stable_regions.models import fused
from stable_regions.models.model import Model

BUDGET, STEPS = 2**24, 6
PROMPTS = pd.DataFrame({"prompt": range(4), "tokens": torch.arange(20).reshape(4, 5).tolist()})
PAIRS = pd.DataFrame({"pair": ["0", "1", "2"], "prompt_a": [0, 1, 2], "prompt_b": [1, 2, 3]})


def table_of(model: Model, layers: list[int], windows: int = 1) -> pd.DataFrame:
    clean = cache(model, list(PROMPTS["tokens"].map(np.array)), layers, budget=BUDGET)
    return freezing.freezing_table(
        model, PROMPTS, PAIRS, clean, layers=layers, steps=STEPS, windows=windows, budget=BUDGET
    )


def ends(model: Model, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    tokens = torch.tensor(PROMPTS["tokens"].tolist())
    start = cache(model, list(tokens.numpy()), [layer], budget=BUDGET)[f"resid.{layer}"]
    return tokens[:3], start[:3], start[1:]


@pytest.mark.parametrize("layer", [EMBEDDING, 0])
@pytest.mark.parametrize(
    ("family", "engine"),
    [("llama", "auto"), ("llama", "bridge"), ("gpt_neox", "auto"), ("gemma2", "auto")],
)
def test_each_condition_is_that_of_plain_passes(
    model_of: Callable[..., Model], family: str, engine: str, layer: int
) -> None:
    model = model_of(family, engine=engine)
    options: dict[str, Any] = {"layer": layer, "windows": 2, "budget": BUDGET}
    assert freezing.check_freezing(model, *ends(model, layer), **options) < 1e-5


def test_an_engine_that_freezes_wrongly_is_refused(
    model_of: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, run = model_of(), fused.Fused.run

    def forgets(*args: Any) -> Any:
        return run(*args[:6])

    monkeypatch.setattr(fused.Fused, "run", forgets)
    with pytest.raises(
        UserError, match="with attention frozen in layers 1 to 2 the engine 'fused'"
    ):
        table_of(model, [0])


def test_nothing_frozen_is_an_interpolation(model_of: Callable[..., Model]) -> None:
    model = model_of()
    tokens, start, end = ends(model, 0)
    options: dict[str, Any] = {"layer": 0, "steps": STEPS, "budget": BUDGET}
    free = interpolate(model, tokens, start, end, top_tokens=None, **options)
    ours = freezing.freeze(model, tokens, start, end, windows=2, **options)
    for name, values in free.items():
        assert np.array_equal(ours[name][:, 0], values)
        assert ours[name].shape == (3, 9, values.shape[1])
        assert not np.allclose(ours[name][:, 1:], values[:, None], rtol=1e-2)


def test_what_is_held_at_its_start_leaves_the_start_where_it_is(
    model_of: Callable[..., Model],
) -> None:
    model = model_of()
    options: dict[str, Any] = {"layer": 0, "steps": STEPS, "windows": 2, "budget": BUDGET}
    [(rows, each)] = freezing.outputs(model, *ends(model, 0), **options)
    free, *frozen = [out["post_norm"] for out in each]
    assert rows == slice(0, 3)
    for one, out in zip(conditions(0, 3, 2)[1:], frozen, strict=True):
        same = torch.allclose(out[:, 0], free[:, 0], rtol=1e-5)
        assert same == (one.held_at == "start")
        assert not torch.allclose(out[:, -1], free[:, -1], rtol=1e-2)


def test_a_row_a_pair_layer_and_condition(model_of: Callable[..., Model]) -> None:
    table = table_of(model_of(), [EMBEDDING, 0], windows=2)
    assert len(table) == 3 * 2 * 9
    keys = ["layer", "frozen", "held_at", "window", "first", "last"]
    rows = table.loc[table["pair"] == "1", keys].to_numpy().tolist()
    assert rows[:5] == [
        [EMBEDDING, "nothing", "path", "all", 0, 2],
        [EMBEDDING, "attention", "start", "all", 0, 2],
        [EMBEDDING, "attention", "mean", "all", 0, 2],
        [EMBEDDING, "MLPs", "start", "all", 0, 2],
        [EMBEDDING, "MLPs", "mean", "all", 0, 2],
    ]
    assert rows[5:9] == [
        [EMBEDDING, "attention", "start", "1", 0, 0],
        [EMBEDDING, "attention", "start", "2", 1, 2],
        [EMBEDDING, "MLPs", "start", "1", 0, 0],
        [EMBEDDING, "MLPs", "start", "2", 1, 2],
    ]
    assert rows[14:] == [
        [0, "attention", "start", "1", 1, 1],
        [0, "attention", "start", "2", 2, 2],
        [0, "MLPs", "start", "1", 1, 1],
        [0, "MLPs", "start", "2", 2, 2],
    ]


def test_windows_are_the_whole_depth_and_do_not_overlap() -> None:
    for layers, windows in ((30, 4), (7, 3), (5, 4)):
        parts = [one for one in conditions(0, layers, windows) if one.window != "all"]
        for frozen in ("attention", "MLPs"):
            own = [one for one in parts if one.frozen == frozen]
            assert [n for one in own for n in range(one.first, one.last + 1)] == list(
                range(1, layers)
            )
            sizes = [len(one.sites) for one in own]
            assert max(sizes) - min(sizes) <= 1
    assert all(one.window == "all" for one in conditions(0, 5, 1))
    said = "windows: holds 4; of 4 layers 3 come after the write layer 0: give at most 3"
    with pytest.raises(UserError, match=said):
        conditions(0, 4, 4)


def test_its_points_are_those_that_it_runs() -> None:
    settings = Settings.model_validate(
        {"kind": "freezing", "prompts": "any", "layers": ["embed", 0]}
    )
    assert settings.layers == [EMBEDDING, 0]
    assert settings.conditions == len(conditions(0, 30, 4)) == 13


def test_a_sample_is_what_was_measured(model_of: Callable[..., Model], tmp_path: Path) -> None:
    model, path = model_of(), tmp_path / "raw.parquet"
    table = table_of(model, [0, 1])
    entry = {"kind": "freezing", "steps": STEPS, "windows": 1}
    facts = {"experiment": entry, "compute": {"memory_budget_mb": 16}}
    for changed, allowed in ((0.0, True), (1.0, False)):
        raw = table.assign(distance_pre_norm=table["distance_pre_norm"] + changed)
        write_parquet(path, raw, facts)
        job = Sampling(model, path, PROMPTS, np.random.default_rng(0), 20, facts)
        compared = list(sample(job))
        assert [one.quantity for one in compared[:2]] == ["distance_post_norm", "distance_pre_norm"]
        assert len(compared) == 8
        assert all(one.worst <= 1 for one in compared) == allowed


def made_up(slopes: dict[str, float], pairs: int = 40) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Paths that rise within a part of the way, so that the max slope is what is asked for."""
    rows = []
    for what, slope in slopes.items():
        steps = np.zeros(60)
        steps[: round(60 / slope)] = slope / 60
        curve = np.concatenate([[0], steps.cumsum()])
        for pair in range(pairs):
            length = 1.0 + pair
            rows.append(
                {
                    "pair": str(pair), "prompt_a": 2 * pair, "prompt_b": 2 * pair + 1, "layer": 0,
                    "frozen": what, "held_at": "path" if what == "nothing" else "start",
                    "window": "all", "first": 1, "last": 4,
                    **{f"distance_{site}": length * curve for site in ("post_norm", "pre_norm")},
                    **{f"step_{site}": length * steps for site in ("post_norm", "pre_norm")},
                }
            )  # fmt: skip
    return pd.DataFrame(rows), {"model": "made-up", "alpha": alphas(61).tolist()}


def test_what_freezing_removes_is_counted_from_a_straight_line() -> None:
    raw = [made_up({"nothing": 5.0, "attention": 4.0, "MLPs": 1.0})]
    table = tables.sharpness(raw, resamples=20, seed=0)
    rows = table[table["read_site"] == "post_norm"].set_index("frozen")
    np.testing.assert_allclose(rows["median"], [5, 4, 1])
    np.testing.assert_allclose(rows["change"], [0, -1, -4], atol=1e-12)
    np.testing.assert_allclose(rows["removed"], [0, 0.25, 1], atol=1e-12)
    np.testing.assert_allclose(rows["removed_low"], rows["removed"])  # all pairs are alike
    np.testing.assert_allclose(rows["boundaries"], [1, 1, 0])
    assert (rows["pairs"] == 40).all()
    assert (rows["undefined"] == 0).all()


def test_a_path_that_stays_has_no_max_slope_and_is_counted() -> None:
    raw, facts = made_up({"nothing": 5.0, "MLPs": 2.0})
    stays = (raw["frozen"] == "MLPs") & (raw["pair"] == "3")
    raw["distance_post_norm"] = [
        curve * (not gone) for curve, gone in zip(raw["distance_post_norm"], stays, strict=True)
    ]
    table = tables.sharpness([(raw, facts)], resamples=20, seed=0)
    rows = table.set_index(["frozen", "read_site"])
    assert rows.loc[("MLPs", "post_norm"), ["pairs", "undefined"]].tolist() == [39, 1]
    assert rows.loc[("MLPs", "pre_norm"), ["pairs", "undefined"]].tolist() == [40, 0]


def test_median_curves_are_by_condition() -> None:
    curves = tables.curves([made_up({"nothing": 5.0, "MLPs": 1.0})])
    straight = curves[curves["frozen"] == "MLPs"]
    np.testing.assert_allclose(straight["median"], straight["alpha"], atol=1e-12)
    assert curves.groupby("frozen").size().tolist() == [61, 61]


def test_the_figure_shows_every_condition() -> None:
    raws = []
    for model in ("real", "twin"):
        parts = []
        for one in conditions(0, 9, 4):
            raw, facts = made_up({one.frozen: 4.0 if one.frozen == "attention" else 2.0}, pairs=9)
            parts.append(raw.assign(**one._asdict()))
        raws.append((pd.concat(parts, ignore_index=True), facts | {"model": model}))
    table, curves = tables.sharpness(raws, resamples=20, seed=0), tables.curves(raws)
    data, figure = figA_freezing.draw(table, curves)
    plt.close(figure)
    shown = data.groupby("panel")
    assert set(shown.get_group("a")["model"]) == {"real"}
    assert list(shown.get_group("a")["frozen"].unique()) == ["nothing", "attention", "MLPs"]
    assert len(shown.get_group("b")) == 2 * 5
    assert len(shown.get_group("c")) == 2 * 2 * 4
    assert set(data.loc[data["frozen"] == "attention", "median"].dropna().round(6)) >= {4.0}
    ticks = [label.get_text().split("\n")[0] for label in figure.axes[1].get_xticklabels()]
    assert ticks == ["nothing", "attention", "attention", "MLPs", "MLPs"]
