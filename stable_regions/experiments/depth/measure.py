"""The residual stream after every layer, along paths between two prompts' activations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.experiments.interpolation.measure import (
    READ_SITES,
    movement,
    output_movement,
    path_table,
    sweep_paths,
)
from stable_regions.experiments.measuring import Measuring
from stable_regions.measures.paths import alphas
from stable_regions.models.model import Model


def read_sites(model: Model, layer: int) -> list[str]:
    """The residual stream after each layer that comes after `layer`, in order."""
    return [f"resid.{n}" for n in range(layer + 1, model.n_layers)]


def read_layers(
    model: Model,
    tokens: Tensor,
    start: Tensor,
    end: Tensor,
    *,
    layer: int,
    steps: int,
    budget: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Outputs along paths, read after every layer, in the context of each pair's first prompt.

    The arguments are those of `interpolation.measure.interpolate`.

    Returns
    -------
    The L2 columns of `interpolate` for both read sites, and the same by layer:
    `distance_reads` `[pair, read layer x step]` and `step_reads` `[pair, read layer x (step - 1)]`,
    one layer after another from the one after `layer` to the last, each in units of the residual
    stream there.
    """
    reads = read_sites(model, layer)

    def reduce(_: slice, out: dict[str, Tensor]) -> dict[str, Tensor]:
        distances, lengths = zip(*(movement(out[site]) for site in reads), strict=True)
        return output_movement(out) | {
            "distance_reads": torch.cat(distances, dim=1),
            "step_reads": torch.cat(lengths, dim=1),
        }

    return sweep_paths(
        model, tokens, start, end, [*READ_SITES, *reads], reduce,
        layer=layer, steps=steps, budget=budget, progress=progress,
    )  # fmt: skip


def depth_table(
    model: Model,
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    layers: Sequence[int],
    steps: int,
    budget: int,
) -> pd.DataFrame:
    """Read after every layer on the path of each pair: one row a pair and write layer.

    The arguments are those of `interpolation.measure.interpolation_table`.

    Returns
    -------
    The columns of `path_table`, and those of `read_layers` as lists.
    """
    progress = Progress("depth", len(pairs) * steps * len(layers), "points")

    def measure(layer: int, tokens: Tensor, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        residual = activations[f"resid.{layer}"].to(model.device)
        return read_layers(
            model, tokens, residual[a], residual[b],
            layer=layer, steps=steps, budget=budget, progress=progress,
        )  # fmt: skip

    return path_table(prompts, pairs, activations, layers=layers, measure=measure)


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read after every layer on the paths of one shard of pairs: the table and its metadata."""
    table = depth_table(
        job.model,
        job.prompts,
        job.own_pairs,
        job.activations,
        layers=job.entry["layers"],
        steps=job.entry["steps"],
        budget=job.budget,
    )
    return table, {
        "alpha": alphas(job.entry["steps"]).tolist(),
        "layers": job.model.n_layers,
        "units": "L2 distance in units of the residual stream at the read site",
    }
