"""Two directions from an activation, and the mixtures between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.experiments.directions.measure import (
    Surroundings,
    length_grid,
    outputs_along,
    unit,
    usual_distance,
    word_means,
)
from stable_regions.experiments.interpolation.measure import promoted
from stable_regions.experiments.measuring import Measuring
from stable_regions.measures.distances import l2
from stable_regions.models.model import Model

MEASURES = {"post_norm": ("post_norm", l2)}


def angle_grid(angles: int) -> Float[np.ndarray, " angle"]:
    """Angles from 0 to 90 degrees, both included, in radians."""
    return np.linspace(0, np.pi / 2, angles)


def draw_two(
    around: Surroundings, count: int, *, components: int, seed: int
) -> dict[str, Float[Tensor, "count 2 d"]]:
    """Two directions of each kind for each of the first `count` prompts."""
    generator = torch.Generator().manual_seed(seed)
    two = {
        "isotropic": around.isotropic(2 * count, generator).unflatten(0, (count, 2)),
        "principal": around.principal(count, generator, components, each=2),
    }
    if around.kinds is not None:
        two["contrastive"] = around.contrastive(count, generator, each=2)
    return {name: unit(vectors) for name, vectors in two.items()}


def mixing_table(
    model: Model,
    prompts: pd.DataFrame,
    activations: Mapping[str, Tensor],
    kinds: Mapping[int, Float[Tensor, "kind d"]],
    *,
    layers: Sequence[int],
    bases: int,
    some: Sequence[int],
    angles: int,
    lengths: Float[np.ndarray, " length"],
    components: int,
    seed: int,
    budget: int,
) -> pd.DataFrame:
    """Go in mixtures of two directions from the activations of prompts.

    The parameters are those of `directions_table`, and the number of angles.

    Returns
    -------
    One row a prompt, kind of both directions, layer and angle: `prompt`, `direction`, `layer`,
    `angle` (degrees), and by length `distance_post_norm` (L2, in units of the residual stream after
    the norm), from the output of the prompt itself.
    """
    grid = angle_grid(angles)
    context = torch.from_numpy(np.stack(prompts["tokens"].iloc[list(some)].to_list()))
    tables = []
    progress: Progress | None = None
    for layer in layers:
        residual = promoted(activations[f"resid.{layer}"])
        around = Surroundings(residual, kinds.get(layer))
        two = draw_two(around, bases, components=components, seed=seed)
        index = [(i, name, at) for i in some for name in two for at in range(angles)]
        if progress is None:
            progress = Progress("mixtures", len(layers) * len(index) * len(lengths), "points")
        parts = torch.as_tensor(np.stack([np.cos(grid), np.sin(grid)]), dtype=residual.dtype)
        measured = outputs_along(
            model, context, torch.arange(len(context)).repeat_interleave(len(index) // len(some)),
            torch.stack([residual[i] for i, _, _ in index]),
            torch.stack([parts[:, at] @ two[name][i] for i, name, at in index]),
            torch.as_tensor(lengths, dtype=residual.dtype) * usual_distance(residual),
            MEASURES, layer=layer, budget=budget, progress=progress,
        )  # fmt: skip
        table = pd.DataFrame(index, columns=["prompt", "direction", "angle"])
        table["angle"] = np.degrees(grid)[table["angle"]]
        table["layer"] = layer
        for name, value in measured.items():
            table[f"distance_{name}"] = list(value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure the bases of one shard: the table and its metadata."""
    entry, [(_, words, _)] = job.entry, job.others
    lengths = length_grid(entry["lengths"], entry["shortest"], entry["reach"])
    table = mixing_table(
        job.model,
        job.prompts,
        job.activations,
        word_means(job.model, words, entry["layers"], budget=job.budget),
        layers=entry["layers"],
        bases=entry["bases"],
        some=range(*job.part),
        angles=entry["angles"],
        lengths=lengths,
        components=entry["components"],
        seed=entry["seed"],
        budget=job.budget,
    )
    return table, {
        "lengths": lengths.tolist(),
        "usual": usual_distance(job.activations["post_norm"]),
        "units": "lengths: median distance between two prompts' activations; distance_post_norm: "
        "residual stream after the norm",
    }
