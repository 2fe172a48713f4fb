"""A few seconds of the real work on models of the right shape: what a study's parts take here.

The models have two and three blocks of a study's model and no meaning in their weights. What the
third block adds is the cost of a block; what is left is that of a point, or of a load.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig

from stable_regions.estimate.workload import LOGITS, Cost
from stable_regions.experiments.choices import measure as choices
from stable_regions.experiments.interpolation.measure import (
    READ_SITES,
    interpolate,
    output_movement,
    path_points,
)
from stable_regions.experiments.pairwise import tables as cluster_tables
from stable_regions.experiments.plane.measure import fields, frames, grid_axis
from stable_regions.experiments.polytopes.measure import gate_changes
from stable_regions.models import huggingface
from stable_regions.models.fused import FAMILIES
from stable_regions.models.load import wrap
from stable_regions.models.model import DTYPES, Model
from stable_regions.models.shapes import Shape
from stable_regions.models.sweep import sweep
from stable_regions.training.settings import TrainingSettings
from stable_regions.training.train import TrainingRun

BLOCKS = (2, 3)
TOKENS = 10  # of a prompt
STEPS, SHORT = 50, 4
FEW = 100  # prompts
CLUSTERED = ("input", "output", "barrier")
AXIS = grid_axis(13, 0.25)
# Long enough to tell, and no more pairs than fill the batches of a real job.
SECONDS, PAIRS = 0.2, 512
VOCABULARY = 2**15  # the largest tried: what is done with logits grows in proportion


def start_seconds(module: str) -> float:
    """Seconds that a process takes to start and to import a module."""
    began = time.perf_counter()
    where = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=where, check=True)
    return time.perf_counter() - began


def training_seconds(settings: TrainingSettings, vocabulary: int, threads: int) -> float:
    """Seconds of one update of a model that is trained here: the shortest of three."""
    torch.set_num_threads(threads)
    run = TrainingRun(settings, vocabulary, identity="")
    rows = torch.randint(vocabulary, (settings.batch, settings.context + 1))
    return min(_timed(partial(run.update, rows)) for _ in range(3))


def sweep_costs(
    shape: Shape, ways: Collection[str], *, dtype: str, threads: int, budget: int
) -> dict[str, Cost]:
    """Seconds of a point in each of some ways, and of a load.

    Parameters
    ----------
    ways
        `<way>.<dtype>`, the way one of `WAYS`.
    dtype
        That the model is loaded in.

    Returns
    -------
    By way, of a point; and `load`, of bringing a model of the shape behind hooks.
    """
    torch.set_num_threads(threads)
    costs: dict[str, list[float]] = {}
    for blocks in BLOCKS:
        for one in sorted({dtype, *(way.partition(".")[2] for way in ways)}):
            began = time.perf_counter()
            model = stand_in(shape, blocks, DTYPES[one])
            if one == dtype:
                costs.setdefault("load", []).append(time.perf_counter() - began)
            for way in sorted(ways):
                name, _, wanted = way.partition(".")
                if wanted == one:
                    costs.setdefault(way, []).append(_point(model, WAYS[name], budget))
    scale = max(1.0, shape.vocabulary / VOCABULARY)
    found = {}
    for way, (fewer, more) in costs.items():
        block = max((more - fewer) / (BLOCKS[1] - BLOCKS[0]), 0.0)
        run = BLOCKS[0] - (way != "load")  # a sweep does not run the write layer's own block
        fixed = max(fewer - run * block, 0.0)
        found[way] = Cost(fixed * scale if way.partition(".")[0] in LOGITS else fixed, block)
    return found


@torch.no_grad()
def stand_in(shape: Shape, blocks: int, dtype: torch.dtype) -> Model:
    """A model of a few blocks of this shape, all weights of which are the same small number."""
    names: dict[str, Any] = {
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp_run,
        "num_hidden_layers": blocks,
        "num_attention_heads": shape.heads,
        "vocab_size": min(shape.vocabulary, VOCABULARY),
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if shape.gated:
        # qwen3 stands for all that are not fused
        kind = shape.model_type if shape.model_type in FAMILIES else "qwen3"
        names |= {"num_key_value_heads": shape.kv_heads or shape.heads}
        if shape.head:
            names |= {"head_dim": shape.head}
    else:
        kind = "gpt_neox"
    config = AutoConfig.for_model(kind, **names)
    hf: Any = huggingface.initialise(config, device="meta")
    hf = hf.to_empty(device="cpu").to(dtype)
    for tensor in (*hf.parameters(), *hf.buffers()):
        tensor.fill_(0.01)
    return wrap(hf.eval().requires_grad_(False), folder=Path(kind))


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _point(model: Model, way: Callable[..., tuple[int, Callable[[], Any]]], budget: int) -> float:
    """Seconds a point: of as many pairs as take a while, or as fill a job."""
    pairs = 4
    while True:
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(model.vocab_size, (pairs, TOKENS), generator=generator)
        ends = torch.randn(2, pairs, model.d_model, generator=generator, dtype=torch.float32)
        points, work = way(model, tokens, *ends, budget=budget)
        seconds = _timed(work)
        if seconds > SECONDS or pairs >= PAIRS:
            return min(seconds, _timed(work)) / points  # another process may have been in the way
        pairs = min(PAIRS, pairs * max(2, int(1.2 * SECONDS / seconds)))


def _paths(model: Model, tokens: Any, a: Any, b: Any, *, budget: int, **how: Any) -> Any:
    how = {"top_tokens": None} | how
    run = partial(interpolate, model, tokens, a, b, layer=0, steps=STEPS, budget=budget, **how)
    return len(tokens) * STEPS, run


def _predictions(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    return _paths(model, tokens, a, b, budget=budget, top_tokens=tokens[:, :2])


def _short(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    points = path_points(a, b, torch.linspace(0, 1, SHORT))
    contexts, rows = tokens[:1], torch.zeros(len(tokens), dtype=torch.long)

    def run() -> None:
        for _, out in sweep(
            model, 0, contexts, rows, lambda some: points[some], READ_SITES, budget=budget
        ):
            output_movement(out)

    return len(tokens) * SHORT, run


def _gates(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    run = partial(gate_changes, model, tokens, a, b, layer=0, steps=STEPS, budget=budget)
    return len(tokens) * STEPS, run


def _planes(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    triples = len(tokens) // 3
    plane = frames(a[: 3 * triples].unflatten(0, (-1, 3)))
    outputs = {site: b[: 3 * triples].unflatten(0, (-1, 3)) for site in ("post_norm", "pre_norm")}
    contexts = tokens[: 3 * triples].unflatten(0, (-1, 3))
    run = partial(fields, model, contexts, plane, outputs, layer=0, axis=AXIS, budget=budget)
    return 3 * triples * len(AXIS) ** 2, run


def _choices(model: Model, tokens: Any, a: Any, b: Any, *, budget: int) -> Any:
    alpha = torch.linspace(0, 1, STEPS)
    points = path_points(a, b, alpha)
    rows, read = list(np.asarray(tokens)), choices.READINGS
    run = partial(choices.measure, model, rows, points, read, layer=0, budget=budget)
    return len(tokens) * STEPS, run


def clustering_seconds(
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
    _cluster(2 * cluster_tables.NEIGHBOURS, labels=1, draws=1, sizes=1)  # imports what is needed
    seconds = _timed(partial(_cluster, few, labels=labels, draws=draws, sizes=sizes))
    return seconds * matrices / len(CLUSTERED) * prompts**2 / few**2


def _cluster(prompts: int, *, labels: int, draws: int, sizes: int) -> None:
    """Cluster a matrix of each distance, and score the clusters."""
    random = np.random.default_rng(0)
    points = random.normal(size=(3, prompts, 3)) + random.integers(8, size=prompts)[:, None] * 3
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    some = {(0, name): apart[[n]] for n, name in enumerate(CLUSTERED)}
    words = [str(number) for number in range(prompts)]
    kinds = {f"label {n}": random.integers(8, size=(1, prompts)) for n in range(labels)}
    given = cluster_tables.Prompts(words, kinds, {})
    found = cluster_tables.clusters(some, given, min_cluster_size=4, min_samples=4)
    cluster_tables.scores(some, found["labels"], given, draws=draws, seed=0)
    cluster_tables.comparisons(some, found["labels"], given, draws=draws, seed=0)
    cluster_tables.confounded(some, given, seed=0)
    cluster_tables.sweeps(some, given, min_cluster_sizes=[4] * sizes, min_samples=4)


# How points are run and what is done with the outputs; `short` paths are those between all prompts
# of a set, which share few contexts.
WAYS: dict[str, Callable[..., Any]] = {
    "paths": _paths,
    "short": _short,
    "predictions": _predictions,
    "gates": _gates,
    "planes": _planes,
    "choices": _choices,
}
