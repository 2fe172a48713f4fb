"""The independent check of the max slope: it shares no code with the package, and agrees."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stable_regions.audit import independent
from stable_regions.audit.independent import agreement, compare, output_distances, sharpest_rise
from stable_regions.base.errors import UserError
from stable_regions.experiments.interpolation.measure import interpolate
from stable_regions.measures import paths as measures
from stable_regions.models import huggingface
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean
from tests.models import FAMILIES
from tests.tiny_study import ROOT

STEPS = 6
# The engine `decode` runs them: ALiBi, a recurrent model, and layers of both kinds.
DECODED = ("bloom", "mamba", "qwen3_5_text")


def reached(module: Path) -> set[str]:
    """Modules of the package that a module imports, and those that these do."""
    result: set[str] = set()
    todo = [module]
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "stable_regions"
            ):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
                if name.startswith("stable_regions.") and file.exists() and name not in result:
                    result.add(name)
                    todo.append(file)
    return result


def test_it_shares_no_code_with_the_package() -> None:
    assert "stable_regions.models.fused" in reached(ROOT / "stable_regions" / "models" / "load.py")
    source = Path(independent.__file__)
    assert reached(source) == {"stable_regions.base.errors"}
    assert "transformer_lens" not in source.read_text()


@pytest.mark.parametrize("family", [*FAMILIES, *DECODED])
def test_both_implementations_give_the_same_distances(
    model_of: Callable[..., Model], family: str
) -> None:
    model = model_of(family)
    tokens = torch.arange(4, 14).reshape(2, 5)
    layer = 1
    residual = clean(model, tokens, [layer], budget=2**22)[f"resid.{layer}"]
    first = interpolate(
        model, tokens[:1], residual[:1], residual[1:], layer=layer, steps=STEPS, top_tokens=None,
        budget=2**22,
    )["distance_post_norm"][0]  # fmt: skip
    plain = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float64).eval()
    a, b = tokens.tolist()
    second = output_distances(plain, a, b, layer=layer, steps=STEPS)
    np.testing.assert_allclose(second, first, atol=1e-5 * first[-1])
    other = output_distances(plain, a, b, layer=0, steps=STEPS)
    assert np.abs(other - first).max() > 1e-2 * first[-1]


@pytest.mark.slow
def test_models_of_each_engine_are_among_them(model_of: Callable[..., Model]) -> None:
    engines = {model_of(family).engine for family in [*FAMILIES, *DECODED]}
    assert engines == {"fused", "bridge", "decode"}


def test_the_formula_is_the_papers() -> None:
    assert sharpest_rise([0.0, 1.0, 2.0, 3.0]) == pytest.approx(1)
    assert sharpest_rise([0.0, 0.0, 3.0, 3.0]) == pytest.approx(3)
    walk = np.abs(np.random.default_rng(0).standard_normal(20).cumsum())
    assert sharpest_rise(list(walk)) == pytest.approx(float(measures.max_slope(walk)))


@pytest.fixture
def given(model_of: Callable[..., Model]) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """A model's folder, raw output of 12 pairs (two of one last token), and the table of pairs."""
    model = model_of(dtype="float32")
    tokens = (torch.arange(13)[:, None] * 4 + torch.arange(5)) % 60
    tokens[[1, 5], -1] = tokens[[0, 4], -1]
    residual = clean(model, tokens, [0], budget=2**22)["resid.0"]
    distance = interpolate(
        model, tokens[:-1], residual[:-1], residual[1:], layer=0, steps=STEPS, top_tokens=None,
        budget=2**22,
    )["distance_post_norm"]  # fmt: skip
    raw = pd.DataFrame(
        {"pair": [str(i) for i in range(12)], "layer": 0, "tokens_a": tokens[:-1].tolist(),
         "tokens_b": tokens[1:].tolist(), "distance_post_norm": list(distance)}
    )  # fmt: skip
    slopes = raw[["pair", "layer"]].assign(max_slope_post_norm=measures.max_slope(distance))
    return model.folder, raw, slopes


def loaded(folder: Path, device_map: str | None = None) -> PreTrainedModel:
    return huggingface.load(folder, device_map=device_map)


@pytest.mark.parametrize("device_map", [None, "auto"])
def test_the_first_pairs_that_end_apart_are_compared(
    given: tuple[Path, pd.DataFrame, pd.DataFrame], device_map: str | None
) -> None:
    table = compare(loaded(given[0], device_map), *given[1:]).assign(model="m")
    assert table["pair"].tolist() == ["1", "2", "3", "5", "6", "7", "8", "9"]
    [row] = agreement(table).to_dict("records")
    assert (row["model"], row["pairs"], row["steps"]) == ("m", 8, STEPS)
    assert 0 < row["slope_difference"] < row["tolerance"]
    assert 0 < row["distance_difference"] < row["tolerance"]


def test_a_slope_that_is_off_by_a_little_more_than_rounding_is_refused(
    given: tuple[Path, pd.DataFrame, pd.DataFrame],
) -> None:
    folder, raw, slopes = given
    slopes.loc[slopes["pair"] == "5", "max_slope_post_norm"] *= 1.002
    table = compare(loaded(folder), raw, slopes).assign(model="m")
    with pytest.raises(UserError, match=r"m: pair 5 has a max slope of .* differ by 2.0e-03"):
        agreement(table)


def test_a_distance_that_is_off_is_refused_though_the_slope_is_right(
    given: tuple[Path, pd.DataFrame, pd.DataFrame],
) -> None:
    folder, raw, slopes = given
    raw["distance_post_norm"] = [
        d + 0.01 * d[-1] * (np.arange(STEPS) == 1) for d in raw["distance_post_norm"]
    ]
    table = compare(loaded(folder), raw, slopes).assign(model="m")
    with pytest.raises(UserError, match="differ by 1.0e-02"):
        agreement(table)


def test_a_difference_that_is_no_number_is_refused() -> None:
    row = {
        "model": "m", "pair": "0", "layer": 0, "steps": 3, "max_slope": np.nan,
        "second_max_slope": 1.0, "slope_difference": np.nan, "distance_difference": 0.0,
    }  # fmt: skip
    with pytest.raises(UserError, match="m: pair 0"):
        agreement(pd.DataFrame([row]))


def test_pairs_of_one_last_token_are_no_test(
    given: tuple[Path, pd.DataFrame, pd.DataFrame],
) -> None:
    folder, raw, slopes = given
    raw["tokens_b"] = raw["tokens_a"]
    with pytest.raises(UserError, match="no pair ends in different tokens"):
        compare(loaded(folder), raw, slopes)
