"""The polytopes experiment: gates that change sign on the way between two prompts' activations.

Where an MLP's gates have fixed signs, the model with ReLUs is linear; each set of signs is one
polytope (paper, appendix F). Activation functions that are smooth have no such edges, so a sign is
what the paper counts for them too: on which side of zero a gate's pre-activation lies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.experiments.interpolation.measure import (
    READ_SITES,
    output_movement,
    path_table,
    sweep_paths,
)
from stable_regions.experiments.measuring import Measuring
from stable_regions.measures.paths import alphas
from stable_regions.models.model import Model


def gate_changes(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    *,
    layer: int,
    steps: int,
    budget: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Count the gates that change sign along paths, in every layer after the write layer.

    The gates of a batch are kept only until they are counted. A gate that changes sign twice
    between two points of the grid is not seen, so the changes passed are a lower bound.

    Parameters
    ----------
    tokens
        The first prompt of each pair: the context `p_A`.
    start, end
        The residual stream after `layer` at the last position of both prompts, A and B.
    budget
        Memory for one batch, in bytes.

    Returns
    -------
    With one entry a layer from `layer + 1` to the last: `mismatch` `[pair, layer]`, gates whose
    sign differs between the ends, and `passed` `[pair, layer]`, changes of sign from point to point
    along the path. `passed_by_step` `[pair, step - 1]`: these changes in all layers together, and
    `passed_by_step_last` in the last layer alone. And the output's movement, as in
    `interpolation.output_movement`.
    """
    gates = [f"gate.{layers}" for layers in range(layer + 1, model.n_layers)]

    def reduce(_: slice, out: dict[str, Tensor]) -> dict[str, Tensor]:
        mismatch, changes = [], []
        for gate in gates:
            positive = out[gate] > 0
            mismatch.append((positive[:, 0] != positive[:, -1]).sum(-1))
            changes.append((positive[:, 1:] != positive[:, :-1]).sum(-1))
        by_layer = torch.stack(changes, dim=1)
        return {
            "mismatch": torch.stack(mismatch, dim=1),
            "passed": by_layer.sum(-1),
            "passed_by_step": by_layer.sum(1),
            "passed_by_step_last": by_layer[:, -1],
            **output_movement(out),
        }

    return sweep_paths(
        model, tokens, start, end, (*READ_SITES, *gates), reduce,
        layer=layer, steps=steps, budget=budget, progress=progress,
    )  # fmt: skip


def gate_table(
    model: Model,
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    layers: Sequence[int],
    steps: int,
    budget: int,
) -> pd.DataFrame:
    """Count sign changes between the prompts of each pair: one row a pair and write layer.

    Parameters
    ----------
    prompts, pairs
        As made by `stable_regions.prompts.draw`.
    activations
        `resid.N` `[prompt, d]` for each layer N.

    Returns
    -------
    The columns of `interpolation.path_table`, and those of `gate_changes` as lists.
    """
    progress = Progress("polytopes", len(pairs) * steps * len(layers), "points")

    def measure(layer: int, tokens: Tensor, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        residual = activations[f"resid.{layer}"].to(model.device)
        return gate_changes(
            model, tokens, residual[a], residual[b],
            layer=layer, steps=steps, budget=budget, progress=progress,
        )  # fmt: skip

    return path_table(prompts, pairs, activations, layers=layers, measure=measure)


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Count gates on the paths of one shard of pairs: the table and its metadata."""
    gate = job.model.gates[-1]
    assert gate is not None  # it is read below
    table = gate_table(
        job.model,
        job.prompts,
        job.own_pairs,
        job.activations,
        layers=job.entry["layers"],
        steps=job.entry["steps"],
        budget=job.budget,
    )
    return table, {
        "layers": job.model.n_layers,
        "gated": job.model.gated,
        "gates": gate.width,
        "alpha": alphas(job.entry["steps"]).tolist(),
        "units": "gates; L2 distance in units of the residual stream at the read site",
    }
