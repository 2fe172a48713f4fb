"""What goes with sharpness, on made-up paths where it is known: both ways."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial import distance

from stable_regions.base.files import write_csv
from stable_regions.experiments.interpolation import predictions as meaning
from stable_regions.experiments.interpolation.measure import interpolate
from stable_regions.measures.distances import jensen_shannon
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean

STEPS = 21
JUMP = 10  # the step at which a sharp path jumps


def raw(sharp: list[bool], tokens_a: list, tokens_b: list, follows: bool = True) -> tuple:
    """Sharp paths jump once, the others move evenly; the prediction jumps with them or does not.

    A prediction that does not follow moves evenly, and its top token changes at the first step.
    """
    even = np.ones(STEPS - 1)
    jump = np.where(np.arange(STEPS - 1) == JUMP, 100.0, 0.1)
    steps = [jump if s else even for s in sharp]
    moves = jump if follows else even
    top = np.arange(STEPS) > (JUMP if follows else 0)
    count = len(sharp)
    table = pd.DataFrame(
        {
            "pair": [str(i) for i in range(count)],
            "prompt_a": range(0, 2 * count, 2),
            "prompt_b": range(1, 2 * count, 2),
            "tokens_a": tokens_a,
            "tokens_b": tokens_b,
            "layer": 0,
            "step_post_norm": steps,
            "distance_post_norm": [np.append(0, np.cumsum(s)) for s in steps],
            "jensen_shannon": [(np.append(0, np.cumsum(moves)) / moves.sum()) ** 2] * count,
            "jensen_shannon_step": [(moves / moves.sum()) ** 2] * count,
            "top_token": [top.astype(int) if s else np.zeros(STEPS, int) for s in sharp],
        }
    )
    return table, {"model": "m"}


A = [1, 2, 3]


def test_what_differs() -> None:
    assert meaning.what_differs(A, [9, 2, 3]) == "context"
    assert meaning.what_differs(A, [1, 2, 9]) == "last token"
    assert meaning.what_differs(A, [9, 2, 9]) == "both"
    assert meaning.what_differs(A, A) == "nothing"


def grouped(*args: object, **kwargs: object) -> Callable[..., pd.Series]:
    table = meaning.groups(meaning.slopes([raw(*args, **kwargs)]), resamples=50, seed=0)
    table = table.set_index(["grouping", "group", "measure"])
    return lambda *key: table.loc[key]


def test_last_tokens_that_go_with_the_groups_are_seen() -> None:
    sharp = [True] * 6 + [False] * 6
    result = grouped(sharp, [A] * 12, [[1, 2, 9]] * 6 + [[7, 8, 3]] * 6)
    assert result("max slope", "low", "same_last_token")["value"] == 1
    assert result("max slope", "high", "same_last_token")["value"] == 0
    assert result("max slope", "low", "same_top_token")["value"] == 1
    assert result("max slope", "high", "same_top_token")["value"] == 0
    assert result("max slope", "middle", "same_top_token")["pairs"] == 0
    assert result("differs", "context", "max_slope")["value"] == pytest.approx(1)
    assert result("differs", "last token", "max_slope")["value"] > 19
    assert result("differs", "both", "max_slope")["pairs"] == 0
    assert result("differs", "last token", "high")["value"] == 1


def test_last_tokens_that_do_not_go_with_the_groups_are_seen() -> None:
    sharp = [True, False] * 6
    result = grouped(sharp, [A] * 12, ([[1, 2, 9]] * 2 + [[7, 8, 3]] * 2) * 3)
    for group in ("low", "high"):
        row = result("max slope", group, "same_last_token")
        assert row["value"] == pytest.approx(0.5)
        assert row["ci_low"] < 0.5 < row["ci_high"]
    assert result("differs", "context", "low")["value"] == 0.5


def test_the_groups_end_where_the_paper_says() -> None:
    table, meta = raw([False] * 4, [A] * 4, [[1, 2, 9]] * 4)
    slopes = [1.19, 1.21, 9.99, 10.01]
    width = STEPS - 1
    table["distance_post_norm"] = [
        np.append(np.linspace(0, 1 - s / width, width), 1.0) for s in slopes
    ]
    result = meaning.slopes([(table, meta)])
    np.testing.assert_allclose(result["max_slope"], slopes)
    assert result["group"].tolist() == ["low", "middle", "middle", "high"]


def test_a_pair_without_a_slope_is_in_no_group() -> None:
    table, meta = raw([True, False], [A] * 2, [[1, 2, 9]] * 2)
    table.at[0, "distance_post_norm"] = np.zeros(STEPS)
    slopes = meaning.slopes([(table, meta)])
    assert slopes["group"].isna().tolist() == [True, False]
    groups = meaning.groups(slopes, resamples=20, seed=0)
    everyone = groups[(groups["group"] == "all") & (groups["measure"] == "max_slope")]
    assert everyone["pairs"].tolist() == [1]


def test_models_and_layers_are_in_the_order_of_the_study() -> None:
    table, _ = raw([True, False], [A] * 2, [[1, 2, 9]] * 2)
    layers = pd.concat([table.assign(layer=3), table.assign(layer=0)])
    slopes = meaning.slopes([(layers, {"model": name}) for name in ("z", "a")])
    groups = meaning.groups(slopes, resamples=2, seed=0)
    order = groups[["model", "layer"]].drop_duplicates().to_numpy().tolist()
    assert order == [["z", 3], ["z", 0], ["a", 3], ["a", 0]]


def predicted(follows: bool) -> pd.Series:
    table = raw([True] * 5 + [False] * 5, [A] * 10, [[1, 2, 9]] * 10, follows=follows)
    result = meaning.predictions([table], resamples=50, seed=0).set_index("measure")
    assert (result["pairs"] == 5).all()  # an even path has no boundary
    return result["value"]


def test_a_prediction_that_jumps_with_the_output() -> None:
    result = predicted(follows=True)
    assert result["step_boundary"] == pytest.approx(1000 * result["step_region"])
    assert result["within"] < 0.02
    assert result["across"] > 0.98
    assert result["ends"] == pytest.approx(1)
    assert (result["top_within"], result["top_across"]) == (1, 0)
    assert (result["change_region"], result["change_boundary"]) == (0, 1)
    assert result["alpha_within"] == pytest.approx(JUMP / (STEPS - 1))
    assert result["alpha_across"] == pytest.approx((JUMP + 1) / (STEPS - 1))


def test_a_prediction_that_does_not_care_about_the_boundary() -> None:
    result = predicted(follows=False)
    assert result["step_boundary"] == pytest.approx(result["step_region"])
    assert result["across"] - result["within"] == pytest.approx(1 / (STEPS - 1))
    assert (result["top_within"], result["top_across"]) == (0, 0)
    assert result["change_boundary"] == 0


def test_a_boundary_up_to_the_end_leads_to_the_end() -> None:
    table, meta = raw([True], [A], [[1, 2, 9]])
    table["step_post_norm"] = [np.append(np.ones(STEPS - 2), 100.0)]
    result = meaning.predictions([(table, meta)], resamples=5, seed=0).set_index("measure")["value"]
    assert (result["alpha_across"], result["across"]) == (1, result["ends"])


def texts() -> pd.DataFrame:
    numbers = range(200)
    return pd.DataFrame(
        {"prompt": numbers, "text": [f"t{n}" for n in numbers], "last_token": "x"}
    )  # fmt: skip


def test_examples_are_random_pairs_of_both_groups_with_their_texts() -> None:
    slopes = meaning.slopes([raw([True] * 3 + [False] * 30, [A] * 33, [[1, 2, 9]] * 33)])
    result = meaning.examples(slopes, [texts()], number=20, seed=0)
    assert result["group"].value_counts().to_dict() == {"low": 20, "high": 3}
    assert result.groupby("group")["available"].first().to_dict() == {"high": 3, "low": 30}
    assert result["pair"].is_unique
    assert (result["text_a"] == [f'"t{2 * int(p)}"' for p in result["pair"]]).all()
    assert (result["text_b"] == [f'"t{2 * int(p) + 1}"' for p in result["pair"]]).all()
    pd.testing.assert_frame_equal(result, meaning.examples(slopes, [texts()], number=20, seed=0))
    other = meaning.examples(slopes, [texts()], number=20, seed=1)
    assert set(other["pair"]) != set(result["pair"])


def test_texts_that_look_like_missing_values_come_back_from_csv(tmp_path: Path) -> None:
    slopes = meaning.slopes([raw([True] * 3, [A] * 3, [[1, 2, 9]] * 3)])
    strange = ["None", "nan", "", "NA", ' "a",\n', "\r"]
    prompts = texts().head(6).assign(text=strange, last_token=strange[::-1])
    write_csv(tmp_path / "t.csv", meaning.examples(slopes, [prompts], number=3, seed=0))
    result = pd.read_csv(tmp_path / "t.csv").sort_values("pair")
    for column, expected in (("text", strange), ("last_token", strange[::-1])):
        sides = result[[f"{column}_a", f"{column}_b"]].to_numpy().ravel()
        assert [json.loads(text) for text in sides] == expected


def test_a_study_without_extremes_has_no_examples() -> None:
    slopes = meaning.slopes([raw([False], [A], [[1, 2, 9]])])
    slopes["group"] = "middle"
    assert meaning.examples(slopes, [texts()], number=20, seed=0).empty


@pytest.mark.parametrize("spread", [1e-4, 1e-2, 1.0, 20.0])
def test_the_divergence_is_exact_enough_in_float32(spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    first = 4 * torch.randn(49_152, generator=generator)
    second = first + spread * torch.randn(49_152, generator=generator)
    p, q = torch.softmax(first, -1), torch.softmax(second, -1)
    expected = (
        distance.jensenshannon(*(torch.softmax(x.double(), -1) for x in (first, second)), base=2)
        ** 2
    )
    assert float(jensen_shannon(p, q)) == pytest.approx(float(expected), rel=1e-3, abs=1e-12)
    assert float(jensen_shannon(p, p)) == 0


def test_the_divergence_of_disjoint_distributions_is_one_bit() -> None:
    p, q = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    assert float(jensen_shannon(p, q)) == pytest.approx(1, abs=1e-5)


def test_steps_and_predictions_along_a_path(model_of: Callable[..., Model]) -> None:
    model = model_of()
    tokens = torch.arange(10).reshape(2, 5)
    runs = clean(model, tokens, [0], sites=("logits",), budget=2**22)
    start, end = runs["resid.0"], runs["resid.0"].roll(-1, 0)
    result = interpolate(
        model, tokens, start, end, layer=0, steps=5, top_tokens=torch.zeros(2, 2, dtype=torch.long),
        budget=2**22,
    )  # fmt: skip
    assert result["step_post_norm"].shape == result["jensen_shannon_step"].shape == (2, 4)
    for step, whole in (
        ("step_post_norm", result["distance_post_norm"]),
        ("step_pre_norm", result["distance_pre_norm"]),
    ):
        np.testing.assert_allclose(result[step][:, 0], whole[:, 1])
        assert (result[step].sum(1) >= whole[:, -1] - 1e-9).all()
    first = result["jensen_shannon_step"][:, 0]
    np.testing.assert_allclose(first, result["jensen_shannon"][:, 1], rtol=1e-9)
    root = np.sqrt(result["jensen_shannon_step"]).sum(1)  # the root is a distance
    assert (root >= np.sqrt(result["jensen_shannon"][:, -1]) - 1e-9).all()
    assert (result["top_token"][:, 0] == np.asarray(runs["logits"].argmax(-1))).all()
