"""Planes through the activations of three prompts: the model's output over each (Figure 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.experiments.interpolation.measure import promoted
from stable_regions.experiments.measuring import Measuring
from stable_regions.models.model import Model
from stable_regions.models.sweep import sweep
from stable_regions.prompts.draw import load_tokenizer

# Points a row of the engine holds. Its cost grows with the square; far fewer waste its overhead.
ROW = 50
SITES = ("post_norm", "pre_norm")


def grid_axis(resolution: int, extent: float) -> Float[np.ndarray, " n"]:
    """Values of a, and of b: from `-extent` to `1 + extent`, both ends included."""
    return np.linspace(-extent, 1 + extent, resolution)


@dataclass(frozen=True)
class Frames:
    """Planes `X(a, b) = A + a (B - A) + b (C - P)`, P the orthogonal projection of C on AB.

    Attributes
    ----------
    origin, along, across : `[triple, d]`: A, B - A and C - P.
    place : `[triple]`: the a of P and of C, which has b = 1. It is 0 where A and B are one point,
        since P is that point then.
    """

    origin: Float[Tensor, "triple d"]
    along: Float[Tensor, "triple d"]
    across: Float[Tensor, "triple d"]
    place: Float[Tensor, " triple"]


def frames(corners: Float[Tensor, "triple 3 d"]) -> Frames:
    """The planes through A, B and C of each triple; the projection is made in float64.

    The planes are in the corners' dtype, or in float32 if that is coarser.
    """
    corners = promoted(corners)
    a, b, c = corners.double().unbind(1)
    along = b - a
    square = (along * along).sum(-1)
    dot = ((c - a) * along).sum(-1)
    place = torch.where(square > 0, dot / square, 0.0)
    across = c - a - place[:, None] * along
    return Frames(corners[:, 0], along.to(corners), across.to(corners), place)


def plane_points(
    plane: Frames,
    triple: Int[Tensor, " row"],
    a: Float[Tensor, "row k"],
    b: Float[Tensor, "row k"],
) -> Float[Tensor, "row k d"]:
    """Points of planes, one plane a row, at the coordinates given."""
    origin, along, across = (part[triple][:, None] for part in (plane.origin, plane.along,
                                                                plane.across))  # fmt: skip
    return origin + a[..., None] * along + b[..., None] * across


def fields(
    model: Model,
    tokens: Int[Tensor, "triple 3 seq"],
    plane: Frames,
    outputs: Mapping[str, Float[Tensor, "triple 3 width"]],
    *,
    layer: int,
    axis: Float[np.ndarray, " n"],
    budget: int,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Over each plane and in the context of each of its prompts: output distance, top token.

    Parameters
    ----------
    outputs
        The clean outputs of the prompts at the read sites `post_norm` and `pre_norm`.
    axis
        The values of a, which are those of b.
    budget
        Memory for one batch, in bytes.

    Returns
    -------
    `[triple, context, b, a]` on the CPU: `distance_post_norm` and `distance_pre_norm` (L2 from the
    context's own clean output, not normalised), `top_token` (the most likely next token, int32).
    """
    n = len(axis)
    pieces = -(-n * n // ROW)
    # rows of one context, one after the other; the last repeats the plane's last point to its end
    index = torch.arange(pieces * ROW).clamp(max=n * n - 1).view(pieces, ROW)
    values = torch.as_tensor(axis, dtype=plane.origin.dtype)
    a, b = (values[i].to(plane.origin.device) for i in (index % n, index // n))
    context = torch.arange(tokens.shape[0] * 3).repeat_interleave(pieces)
    own = {site: outputs[site].flatten(0, 1).to(model.device) for site in SITES}
    kind = torch.promote_types(model.dtype, torch.float32)
    whole = {f"distance_{site}": torch.empty(len(context), ROW, dtype=kind) for site in SITES}
    whole["top_token"] = torch.empty(len(context), ROW, dtype=torch.int32)

    def points(rows: slice) -> Tensor:
        piece = torch.arange(len(context))[rows] % pieces
        return plane_points(plane, context[rows] // 3, a[piece], b[piece])

    for rows, out in sweep(
        model,
        layer,
        tokens.flatten(0, 1),
        context,
        points,
        (*SITES, "logits"),
        budget=budget,
    ):
        which = context[rows]
        for site in SITES:
            change = promoted(out[site]) - promoted(own[site][which])[:, None]
            whole[f"distance_{site}"][rows] = torch.linalg.vector_norm(change, dim=-1).cpu()
        whole["top_token"][rows] = out["logits"].argmax(-1).int().cpu()
        if progress:
            progress.advance(len(which) * ROW)
    return {
        name: value.view(len(tokens), 3, -1)[..., : n * n].unflatten(-1, (n, n))
        for name, value in whole.items()
    }


def plane_tensors(
    model: Model,
    prompts: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    triples: tuple[int, int],
    layers: Sequence[int],
    axis: Float[np.ndarray, " n"],
    budget: int,
) -> dict[str, Tensor]:
    """All that is measured on planes: triple i has the prompts 3i, 3i + 1 and 3i + 2.

    Parameters
    ----------
    prompts
        As made by `stable_regions.prompts.draw`, all of one length.
    activations
        `resid.N` for each layer N, `post_norm` and `pre_norm`, each `[prompt, width]`.
    triples
        The first triple, and the one after the last.

    Returns
    -------
    `axis` `[n]`; `tokens` `[triple, 3, seq]`; those of `fields` with the layers in front,
    `[layer, triple, context, b, a]`; and `[layer, triple]`: `place_c` (C is at a = `place_c`,
    b = 1), `length_along` and `length_across` (L2 norms of B - A and of C - P).
    """
    used = slice(3 * triples[0], 3 * triples[1])
    tokens = torch.tensor([list(ids) for ids in prompts["tokens"][used]]).unflatten(0, (-1, 3))
    outputs = {site: activations[site][used].unflatten(0, (-1, 3)) for site in SITES}
    rows = 3 * len(tokens) * -(-(len(axis) ** 2) // ROW)
    progress = Progress("planes", len(layers) * rows * ROW, "points")
    parts: dict[str, list[Tensor]] = {}
    for layer in layers:
        corners = activations[f"resid.{layer}"][used].unflatten(0, (-1, 3)).to(model.device)
        plane = frames(corners)
        tensors = fields(
            model,
            tokens,
            plane,
            outputs,
            layer=layer,
            axis=axis,
            budget=budget,
            progress=progress,
        )
        tensors["place_c"] = plane.place
        tensors["length_along"] = torch.linalg.vector_norm(plane.along.double(), dim=-1)
        tensors["length_across"] = torch.linalg.vector_norm(plane.across.double(), dim=-1)
        for name, value in tensors.items():
            parts.setdefault(name, []).append(value.cpu())
    stacked = {name: torch.stack(values) for name, values in parts.items()}
    return {"axis": torch.as_tensor(axis), "tokens": tokens, **stacked}


def measure(job: Measuring) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Measure the planes of one shard of triples: the tensors and their metadata."""
    first, end = job.part
    tensors = plane_tensors(
        job.model,
        job.prompts,
        job.activations,
        triples=(first, end),
        layers=job.entry["layers"],
        axis=grid_axis(job.entry["resolution"], job.entry["extent"]),
        budget=job.budget,
    )
    texts = list(job.prompts["text"][3 * first : 3 * end])
    tokenizer = load_tokenizer(job.folder)
    top = tensors["top_token"].unique().tolist()
    return tensors, {
        "texts": [texts[i : i + 3] for i in range(0, len(texts), 3)],
        "token_texts": {t: tokenizer.decode([t], skip_special_tokens=False) for t in top},
        "dimensions": {
            "distance_post_norm, distance_pre_norm, top_token": "layer triple context b a",
            "tokens": "triple prompt position",
            "axis": "values of a, and of b",
            "place_c, length_along, length_across": "layer triple",
        },
        "units": "L2 distance in units of the residual stream at the read site, not normalised",
    }
