"""A little of the work on distances between prompts, timed to estimate what it costs."""

import time
from typing import Any

import numpy as np
import torch

from stable_regions.experiments.interpolation.measure import (
    READ_SITES,
    output_movement,
    path_points,
)
from stable_regions.experiments.pairwise import tables
from stable_regions.models.model import Model
from stable_regions.models.sweep import sweep

SHORT = 4  # points of a path
FEW = 100  # prompts
CLUSTERED = ("input", "output", "barrier")


def _short(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    points = path_points(a, b, torch.linspace(0, 1, SHORT))
    contexts, rows = tokens[:1], torch.zeros(len(tokens), dtype=torch.long)

    def run() -> None:
        for _, out in sweep(
            model, 0, contexts, rows, lambda some: points[some], READ_SITES, budget=budget
        ):
            output_movement(out)

    return len(tokens) * SHORT, run


WAYS = {"short": _short}


def tabulating_seconds(
    *, prompts: int, matrices: int, labels: int, draws: int, sizes: int
) -> float:
    """Core seconds of clustering and scoring distance matrices: of three, times their number.

    Large ones are measured on `FEW` prompts, and taken to cost as much a pair.

    Parameters
    ----------
    prompts
        Rows of a matrix.
    labels, draws, sizes
        Kinds of labels, resamples, and values of `min_cluster_size`.
    """
    few = min(prompts, FEW)
    _cluster(2 * tables.NEIGHBOURS, labels=1, draws=1, sizes=1)  # imports what is needed
    began = time.perf_counter()
    _cluster(few, labels=labels, draws=draws, sizes=sizes)
    seconds = time.perf_counter() - began
    return seconds * matrices / len(CLUSTERED) * prompts**2 / few**2


def _cluster(prompts: int, *, labels: int, draws: int, sizes: int) -> None:
    """Cluster a matrix of each distance, and score the clusters."""
    random = np.random.default_rng(0)
    points = random.normal(size=(3, prompts, 3)) + random.integers(8, size=prompts)[:, None] * 3
    distances = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    some = {(0, name): distances[[n]] for n, name in enumerate(CLUSTERED)}
    words = [str(number) for number in range(prompts)]
    kinds = {f"label {n}": random.integers(8, size=(1, prompts)) for n in range(labels)}
    examples = tables.Prompts(words, kinds, {})
    clusters = tables.clusters(some, examples, min_cluster_size=4, min_samples=4)
    tables.scores(some, clusters["labels"], examples, draws=draws, seed=0)
    tables.comparisons(some, clusters["labels"], examples, draws=draws, seed=0)
    tables.confounded(some, examples, seed=0)
    tables.sensitivity(some, examples, min_cluster_sizes=[4] * sizes, min_samples=4)
