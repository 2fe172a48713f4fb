"""Timings of the real work, for a few seconds, on stand-in models of the same shape.

The models have two and three blocks of a study's model and no meaning in their weights. What the
third block adds is the cost of a block; what is left is that of a point, or of a load.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig

from stable_regions.base.forking import ROOT, Server
from stable_regions.estimate.workload import Cost
from stable_regions.experiments.kinds import KINDS, WAYS, module_of
from stable_regions.models import huggingface
from stable_regions.models.fused import FAMILIES
from stable_regions.models.load import wrap
from stable_regions.models.model import DTYPES, Model
from stable_regions.models.shapes import Shape
from stable_regions.training.settings import TrainingSettings
from stable_regions.training.train import TrainingRun

BLOCKS = (2, 3)
TOKENS = 10  # of a prompt
# Long enough to tell, and no more pairs than fill the batches of a real job.
SECONDS, PAIRS = 0.2, 512
VOCABULARY = 2**15  # the largest tried: what is done with logits grows in proportion


def start_seconds(module: str, *, forks: bool) -> float:
    """Seconds that a script takes to start and to import a module, after others that did so.

    Parameters
    ----------
    forks
        Whether it forks from a process that has imported it.
    """
    with TemporaryDirectory() as folder:
        script = Path(folder, "start.py")
        script.write_text(
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}", encoding="utf-8"
        )
        start: Callable[[], object] = (
            partial(Server([module]).run, str(script), {}, 1)
            if forks
            else partial(subprocess.run, [sys.executable, script], check=True)
        )
        start()
        began = time.perf_counter()
        start()
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
    """Seconds of a point in each way of running points, and of a load.

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
    run_in = functions()
    costs: dict[str, list[float]] = {}
    for blocks in BLOCKS:
        for one in sorted({dtype, *(way.partition(".")[2] for way in ways)}):
            began = time.perf_counter()
            model = stand_in(shape, blocks, DTYPES[one])
            if one == dtype:
                costs.setdefault("load", []).append(time.perf_counter() - began)
            for way in sorted(ways):
                name, _, way_dtype = way.partition(".")
                if way_dtype == one:
                    costs.setdefault(way, []).append(_point(model, run_in[name], budget))
    scale = max(1.0, shape.vocabulary / VOCABULARY)
    cost_of_way = {}
    for way, (fewer, more) in costs.items():
        block = max((more - fewer) / (BLOCKS[1] - BLOCKS[0]), 0.0)
        run = BLOCKS[0] - (way != "load")  # a sweep does not run the write layer's own block
        fixed = max(fewer - run * block, 0.0)
        logits = way != "load" and WAYS[way.partition(".")[0]].logits
        cost_of_way[way] = Cost(fixed * scale if logits else fixed, block)
    return cost_of_way


@torch.no_grad()
def stand_in(shape: Shape, blocks: int, dtype: torch.dtype) -> Model:
    """A stand-in model of a few blocks of this shape, with weights that mean nothing."""
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
        "pad_token_id": None,
    }
    fused = shape.model_type in FAMILIES
    if shape.gated:
        # behind hooks any of them stands for those that are not fused
        kind = shape.model_type if fused else next(iter(FAMILIES))
        names |= {"num_key_value_heads": shape.kv_heads or shape.heads}
        if shape.head:
            names |= {"head_dim": shape.head}
    else:
        kind = "gpt_neox"
    config = AutoConfig.for_model(kind, **names)
    hf: Any = huggingface.initialise(config, device="meta")
    hf = hf.to_empty(device="cpu").to(dtype)
    hf.config.architectures = [type(hf).__name__]  # by which TransformerLens knows it
    for tensor in (*hf.parameters(), *hf.buffers()):
        tensor.fill_(0.01)
        if tensor.dim() > 1:  # not the same everywhere, of which a layer norm leaves nothing
            tensor += torch.linspace(-0.01, 0.01, tensor.shape[-1], dtype=dtype)
    for module in hf.modules():  # Gemma's embeddings keep this in a buffer
        if hasattr(module, "scalar_embed_scale"):
            module.embed_scale.fill_(module.scalar_embed_scale)
    engine = "auto" if fused else "bridge"
    return wrap(hf.eval().requires_grad_(False), folder=Path(kind), engine=engine)


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


def tabulating_seconds(kind: str, facts: dict[str, int]) -> float:
    """Core seconds of the tables of an experiment of a kind, where they take long."""
    return module_of(kind, "calibrate").tabulating_seconds(**facts)


def functions() -> dict[str, Callable[..., Any]]:
    """How points are run in each way: the points that a call runs, and the call."""
    owned = [module_of(name, "calibrate") for name, kind in KINDS.items() if kind.ways]
    return {way: run for module in owned for way, run in module.WAYS.items()}
