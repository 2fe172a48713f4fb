"""A model in bfloat16: all but the model itself is computed in float32."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from stable_regions.experiments.activations import cache
from stable_regions.experiments.interpolation import measure as interpolation
from stable_regions.experiments.interpolation.measure import interpolation_table, output_movement
from stable_regions.experiments.plane import measure as planes
from stable_regions.experiments.plane.measure import frames, plane_tensors
from stable_regions.experiments.polytopes.measure import gate_table
from stable_regions.experiments.robustness import measure as robustness
from stable_regions.models.model import Model
from tests.models import VOCAB

BUDGET = 2**24
STEPS = 11


@pytest.fixture(scope="module")
def material(model_of: Callable[..., Model]) -> SimpleNamespace:
    model = model_of("llama", "bfloat16")
    tokens = np.random.default_rng(0).integers(3, VOCAB, size=(4, 5))
    activations = cache(model, list(tokens), [0], budget=BUDGET)
    assert activations["resid.0"].dtype == torch.bfloat16
    return SimpleNamespace(
        model=model,
        prompts=pd.DataFrame({"prompt": range(4), "tokens": list(tokens)}),
        pairs=pd.DataFrame({"pair": list("abc"), "prompt_a": range(3), "prompt_b": range(1, 4)}),
        activations=activations,
    )


@pytest.fixture
def seen_dtypes(monkeypatch: pytest.MonkeyPatch) -> set[torch.dtype]:
    """The dtypes of the points that the engine is given."""
    seen = set()

    def watched(module):
        sweep = module.sweep

        def run(model, layer, contexts, context_of, points, sites, *, budget):
            def noted(rows):
                seen.add(points(rows).dtype)
                return points(rows)

            return sweep(model, layer, contexts, context_of, noted, sites, budget=budget)

        return run

    for module in (interpolation, robustness, planes):
        monkeypatch.setattr(module, "sweep", watched(module))
    return seen


def test_interpolation(material: SimpleNamespace, seen_dtypes: set[torch.dtype]) -> None:
    table = interpolation_table(
        material.model, material.prompts, material.pairs, material.activations,
        layers=[0], steps=STEPS, logits=True, budget=BUDGET,
    )  # fmt: skip
    assert seen_dtypes == {torch.float32}
    moved = material.activations["resid.0"].double().diff(dim=0).norm(dim=-1)
    np.testing.assert_allclose(table["input_distance"], moved, rtol=1e-6)
    for name in ("distance_post_norm", "step_pre_norm", "jensen_shannon", "logit_difference"):
        assert np.stack(table[name].to_list()).dtype == np.float32


def test_distances_of_outputs_are_not_rounded() -> None:
    out = torch.randn(2, 5, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    result = output_movement({"post_norm": out, "pre_norm": out})
    whole = output_movement({"post_norm": out.double(), "pre_norm": out.double()})
    for name, value in result.items():
        torch.testing.assert_close(value.double(), whole[name], rtol=1e-6, atol=0)


def test_gates(material: SimpleNamespace, seen_dtypes: set[torch.dtype]) -> None:
    table = gate_table(
        material.model, material.prompts, material.pairs, material.activations,
        layers=[0], steps=STEPS, budget=BUDGET,
    )  # fmt: skip
    assert seen_dtypes == {torch.float32}
    assert np.isfinite(np.stack(table["distance_pre_norm"].to_list())).all()


def test_choices(material: SimpleNamespace, seen_dtypes: set[torch.dtype]) -> None:
    table = robustness.varied_table(
        material.model, material.prompts, material.pairs, material.activations["resid.0"],
        layer=0, steps=STEPS, read_sites=[], distances=["angle"], grids=[5],
        adaptive=[0.01], paths=["interpolated_norm", "slerp", "through_activations"],
        targets=["covariance", "isotropic"], seed=0, budget=BUDGET,
    )  # fmt: skip
    assert seen_dtypes == {torch.float32}
    assert len(table) == 9 * len(material.pairs)


def test_planes(material: SimpleNamespace, seen_dtypes: set[torch.dtype]) -> None:
    result = plane_tensors(
        material.model, material.prompts, material.activations,
        triples=(0, 1), layers=[0], axis=planes.grid_axis(7, 0.25), budget=BUDGET,
    )  # fmt: skip
    assert seen_dtypes == {torch.float32}
    three = material.activations["resid.0"][:3].double()[None]
    for part in ("along", "across"):
        exact = getattr(frames(three), part).norm(dim=-1)
        torch.testing.assert_close(result[f"length_{part}"][0], exact, rtol=1e-6, atol=0)
