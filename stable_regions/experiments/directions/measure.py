"""Directions from an activation: how the output moves with the length of the way.

A base is the residual stream at the last position of a prompt after the write layer, or a random
point with the mean and the covariance of such activations. Both are run in the context of the
prompt: a random base takes the place of the prompt's own activation, as the points of a path do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.base.progress import Progress
from stable_regions.experiments.directions.settings import BASES
from stable_regions.experiments.interpolation.measure import promoted
from stable_regions.experiments.measuring import Measuring
from stable_regions.experiments.robustness.measure import covariance_points
from stable_regions.measures.distances import divergence, jensen_shannon, l2
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, sweep
from stable_regions.prompts.draw import by_length


def length_grid(lengths: int, shortest: float, reach: float) -> Float[np.ndarray, " length"]:
    """Zero, and lengths from `shortest` to `reach` that grow by one factor."""
    return np.concatenate([[0.0], np.geomspace(shortest, reach, lengths)])


def usual_distance(vectors: Float[Tensor, "prompt d"]) -> float:
    """The median L2 distance between two of the vectors, over all pairs."""
    return float(torch.pdist(promoted(vectors).double()).median())


@dataclass(frozen=True)
class Surroundings:
    """What directions around the activations of a prompt set are drawn from.

    Attributes
    ----------
    residual
        The activations of the set's prompts after the write layer.
    kinds
        The mean activations of the kinds of words; contrastive directions need them.
    """

    residual: Float[Tensor, "prompt d"]
    kinds: Float[Tensor, "kind d"] | None = None

    def isotropic(self, count: int, generator: torch.Generator) -> Float[Tensor, "count d"]:
        """Vectors of the normal distribution that prefers no direction."""
        return torch.randn(
            count, self.residual.shape[1], generator=generator, dtype=self.residual.dtype
        )

    def covariance(self, count: int, generator: torch.Generator) -> Float[Tensor, "count d"]:
        """Vectors of the normal distribution with the activations' covariance and mean 0."""
        return covariance_points(self.residual, count, generator) - self.residual.mean(0)

    def difference(self, count: int, generator: torch.Generator) -> Float[Tensor, "count d"]:
        """For each of the first `count` prompts the difference of two others' activations."""
        others = len(self.residual) - 1
        drawn = [torch.randperm(others, generator=generator)[:2] for _ in range(count)]
        at = torch.stack(drawn)
        at += at >= torch.arange(count)[:, None]  # not the prompt itself
        return self.residual[at[:, 0]] - self.residual[at[:, 1]]

    def axes(self, number: int) -> Float[Tensor, "component d"]:
        """The first principal components of the activations, as many as there are."""
        centred = (self.residual - self.residual.mean(0)).double()
        _, columns = torch.linalg.eigh(centred.T @ centred)
        axes = columns.flip(1).T[: min(number, len(centred) - 1)]
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        return (axes * largest.sign()).to(self.residual)  # one sign, whatever computed them

    def principal(
        self, count: int, generator: torch.Generator, components: int, each: int = 1
    ) -> Float[Tensor, "count each d"]:
        """`each` different ones of the first principal components, of random signs."""
        axes = self.axes(components)
        at = [torch.randperm(len(axes), generator=generator)[:each] for _ in range(count)]
        sign = torch.randint(2, (count, each, 1), generator=generator) * 2 - 1
        return axes[torch.stack(at)] * sign

    def contrastive(
        self, count: int, generator: torch.Generator, each: int = 1
    ) -> Float[Tensor, "count each d"]:
        """`each` differences of the means of two kinds of words, no kind in two of them."""
        assert self.kinds is not None
        number = len(self.kinds)
        if number < 2 * each:
            raise UserError(
                f"contrastive directions: {each} at a time need {2 * each} kinds of words; the "
                f"list has {number}"
            )
        drawn = [torch.randperm(number, generator=generator)[: 2 * each] for _ in range(count)]
        at = torch.stack(drawn).view(count, each, 2)
        return self.kinds[at[..., 0]] - self.kinds[at[..., 1]]


def unit(vectors: Float[Tensor, "*row d"]) -> Float[Tensor, "*row d"]:
    """The vectors' directions; UserError where a vector has none."""
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if not (norm > 0).all():
        raise UserError(
            "directions: two prompts, or two kinds of words, have one mean activation and no "
            "direction between them: leave one of them out"
        )
    return vectors / norm


def draw(
    around: Surroundings, count: int, *, components: int, seed: int
) -> tuple[dict[str, Float[Tensor, "count d"]], dict[str, Float[Tensor, "count d"]]]:
    """The bases of the first `count` prompts by kind, and a direction of each kind for each.

    All is drawn from one stream in the order of `DIRECTIONS`, so that no two share their numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    random = covariance_points(around.residual, count, generator)
    directions = {
        "isotropic": around.isotropic(count, generator),
        "covariance": around.covariance(count, generator),
        "difference": around.difference(count, generator),
        "principal": around.principal(count, generator, components)[:, 0],
    }
    if around.kinds is not None:
        directions["contrastive"] = around.contrastive(count, generator)[:, 0]
    bases = {"real": around.residual[:count], "random": random}
    return bases, {name: unit(vectors) for name, vectors in directions.items()}


def word_means(
    model: Model, words: pd.DataFrame, layers: Sequence[int], *, budget: int
) -> dict[int, Float[Tensor, "kind d"]]:
    """The mean activation of each kind of words, over its words and contexts, by layer."""
    kinds = torch.from_numpy(pd.factorize(words["kind"])[0])
    residual: dict[int, Tensor] = {}
    for index, tokens in by_length(words["tokens"].to_list()):
        runs = clean(model, torch.from_numpy(tokens), layers, budget=budget)
        for layer in layers:
            values = promoted(runs[f"resid.{layer}"]).cpu()
            whole = values.new_empty(len(words), values.shape[1])
            residual.setdefault(layer, whole)[torch.from_numpy(index)] = values
    return {
        layer: torch.stack([values[kinds == kind].mean(0) for kind in kinds.unique()])
        for layer, values in residual.items()
    }


def usual_divergence(
    model: Model,
    tokens: Int[Tensor, "prompt seq"],
    residual: Float[Tensor, "prompt d"],
    *,
    layer: int,
    budget: int,
) -> float:
    """The median Jensen-Shannon divergence of two neighbouring prompts' predictions, in bits."""
    before: Tensor | None = None
    found = []
    for _, out in sweep(
        model, layer, tokens, torch.arange(len(tokens)), lambda rows: residual[rows][:, None],
        ["logits"], budget=budget,
    ):  # fmt: skip
        for row in out["logits"][:, 0]:
            p = torch.softmax(promoted(row), dim=-1)
            if before is not None:
                found.append(float(jensen_shannon(p, before)))
            before = p
    return float(np.median(found))


def outputs_along(
    model: Model,
    tokens: Int[Tensor, "context seq"],
    context: Int[Tensor, " row"],
    base: Float[Tensor, "row d"],
    direction: Float[Tensor, "row d"],
    lengths: Float[Tensor, " length"],
    measures: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]],
    *,
    layer: int,
    budget: int,
    progress: Progress | None = None,
) -> dict[str, Float[np.ndarray, "row length"]]:
    """How far the outputs at `base + length direction` are from that at the base.

    Parameters
    ----------
    context
        The prompt of each row: one of `tokens`.
    lengths
        In units of the residual stream; the first is zero.
    measures
        By name the site that is read, and the distances of its outputs from the first.
    budget
        Memory for one batch, in bytes.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for rows, out in sweep(
        model, layer, tokens, context,
        lambda rows: base[rows][:, None] + lengths[:, None] * direction[rows][:, None],
        list(dict.fromkeys(site for site, _ in measures.values())), budget=budget,
    ):  # fmt: skip
        for name, (site, distance) in measures.items():
            # one row at a time: what the divergence needs stays small
            parts[name] += [distance(promoted(row)).cpu().numpy() for row in out[site]]
        if progress:
            progress.advance((rows.stop - rows.start) * len(lengths))
    return {name: np.stack(values) for name, values in parts.items()}


MEASURES = {"post_norm": ("post_norm", l2), "jensen_shannon": ("logits", divergence)}


def directions_table(
    model: Model,
    prompts: pd.DataFrame,
    activations: Mapping[str, Tensor],
    kinds: Mapping[int, Float[Tensor, "kind d"]],
    *,
    layers: Sequence[int],
    bases: int,
    some: Sequence[int],
    lengths: Float[np.ndarray, " length"],
    components: int,
    seed: int,
    budget: int,
) -> pd.DataFrame:
    """Go in each kind of direction from each kind of base.

    Parameters
    ----------
    prompts
        As made by `stable_regions.prompts.draw`, all of one length.
    activations
        `resid.N` `[prompt, d]` for each layer N.
    kinds
        The mean activations of the kinds of words, by layer.
    bases
        Prompts, the first ones, for which bases and directions are drawn.
    some
        Those of them that are measured.
    lengths
        In units of the median distance between two prompts' activations; the first is zero.
    components
        Principal components that directions are drawn from.
    seed
        Of the random bases and directions.
    budget
        Memory for one batch, in bytes.

    Returns
    -------
    One row a prompt, kind of base, kind of direction and layer: `prompt`, `base`, `direction`,
    `layer`, and by length `distance_post_norm` (L2, in units of the residual stream after the
    norm) and `distance_jensen_shannon` (bits), from the output at the base.
    """
    progress: Progress | None = None
    context = torch.from_numpy(np.stack(prompts["tokens"].iloc[list(some)].to_list()))
    tables = []
    for layer in layers:
        residual = promoted(activations[f"resid.{layer}"])
        around = Surroundings(residual, kinds.get(layer))
        origins, directions = draw(around, bases, components=components, seed=seed)
        index = [(i, base, name) for i in some for base in BASES for name in directions]
        if progress is None:
            progress = Progress("directions", len(layers) * len(index) * len(lengths), "points")
        measured = outputs_along(
            model, context, torch.arange(len(context)).repeat_interleave(len(index) // len(some)),
            torch.stack([origins[base][i] for i, base, _ in index]),
            torch.stack([directions[name][i] for i, _, name in index]),
            torch.as_tensor(lengths, dtype=residual.dtype) * usual_distance(residual),
            MEASURES, layer=layer, budget=budget, progress=progress,
        )  # fmt: skip
        table = pd.DataFrame(index, columns=["prompt", "base", "direction"]).assign(layer=layer)
        for name, value in measured.items():
            table[f"distance_{name}"] = list(value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def usual_distances(
    model: Model,
    prompts: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    layers: Sequence[int],
    bases: int,
    budget: int,
) -> list[dict[str, float]]:
    """How far two prompts usually are from each other, at each write layer.

    Returns
    -------
    `layer`; `input`, the median L2 distance of two activations, and `post_norm`, of two outputs,
    over all pairs; `jensen_shannon`, the median divergence of two neighbours' predictions in bits,
    over the first `bases` prompts.
    """
    tokens = torch.from_numpy(np.stack(prompts["tokens"].iloc[:bases].to_list()))
    rows = []
    for layer in layers:
        residual = promoted(activations[f"resid.{layer}"])
        rows.append(
            {
                "layer": layer,
                "input": usual_distance(residual),
                "post_norm": usual_distance(activations["post_norm"]),
                "jensen_shannon": usual_divergence(
                    model, tokens, residual[:bases], layer=layer, budget=budget
                ),
            }
        )
    return rows


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure the bases of one shard: the table and its metadata."""
    entry, [(_, words, _)] = job.entry, job.others
    lengths = length_grid(entry["lengths"], entry["shortest"], entry["reach"])
    table = directions_table(
        job.model,
        job.prompts,
        job.activations,
        word_means(job.model, words, entry["layers"], budget=job.budget),
        layers=entry["layers"],
        bases=entry["bases"],
        some=range(*job.part),
        lengths=lengths,
        components=entry["components"],
        seed=entry["seed"],
        budget=job.budget,
    )
    return table, {
        "lengths": lengths.tolist(),
        "usual": usual_distances(
            job.model, job.prompts, job.activations,
            layers=entry["layers"], bases=entry["bases"], budget=job.budget,
        ),
        "units": "lengths: median distance between two prompts' activations; distance_post_norm: "
        "residual stream after the norm; distance_jensen_shannon: bits",
    }  # fmt: skip
