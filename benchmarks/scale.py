"""How time and memory grow: what one job takes when one size grows and the others stay.

    python -m benchmarks.scale [FOLDER ...] [--out results/scale] [--threads 1] [--whole]

Each case runs in a process of its own as a job does: it loads the model, measures, and writes the
raw output. Prompts are random tokens, and what is measured lies between random activations, which
costs the same; every prompt of a pairwise set is a context of its own, which costs the most. All of
an experiment is one job, where a study would cut it into shards or blocks.

Time is the processor's, of all threads, without loading the model, so that it says little of what
else the machine does. Peak memory is that of the process, above what Python with its libraries
holds. Beside them stands what `snakemake plan` reckons with: points, operations, the bytes of the
outputs, and the most memory. An exponent of 1 says that time (or the plan's operations) grows as
the size does since the row before, one of 2 that it grows as the size's square. A model's size is
the weights of its blocks.

A FOLDER is a model's, and without any they are those of `benchmarks.engine`. Pairs of the paper's
50 steps and the prompts of a pairwise set are measured on the first, all else on the last.
`--whole` adds 10,000 pairs of 50 steps on the last: about a quarter of an hour. `scale.csv` is
written to `--out`. Threads that wait for a busy machine count as busy, so one is the default.
"""

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.engine import BUDGET, LAYER, folders
from stable_regions.audit.provenance import machine, versions
from stable_regions.audit.records import usage
from stable_regions.base.files import read_json, write_csv, write_safetensors
from stable_regions.estimate.workload import Sweep, Work
from stable_regions.experiments.activations import cache
from stable_regions.experiments.interpolation import measure as interpolation
from stable_regions.experiments.interpolation.settings import Settings as Interpolation
from stable_regions.experiments.measuring import Measuring
from stable_regions.experiments.pairwise import measure as pairwise
from stable_regions.experiments.pairwise.settings import Clusters
from stable_regions.experiments.pairwise.settings import Settings as Pairwise
from stable_regions.experiments.raw import Data, write_raw
from stable_regions.models import hooked  # noqa: F401  # libraries are not what is measured
from stable_regions.models.fused import FAMILIES
from stable_regions.models.load import load_model
from stable_regions.models.shapes import Shape, shape_of
from stable_regions.prompts.draw import all_pairs, neighbour_pairs
from stable_regions.prompts.settings import RandomPrompts

MEASURES: Mapping[str, Callable[[Measuring], tuple[Data, dict[str, Any]]]] = {
    "interpolation": interpolation.measure,
    "pairwise": pairwise.measure,
}
CLUSTERS = Clusters(labels=["last_token"], min_cluster_size=2, min_samples=1, other_sizes=[2])


@dataclass(frozen=True)
class Case:
    """One job: pairs of an interpolation, or prompts; steps of a path; tokens of a prompt."""

    kind: str
    number: int
    steps: int = 10
    tokens: int = 10

    @property
    def prompts(self) -> RandomPrompts:
        count = self.number + (self.kind == "interpolation")
        return RandomPrompts(kind="random", corpus="random", tokens=self.tokens, count=count)

    @property
    def settings(self) -> Interpolation | Pairwise:
        """As an experiment of a configuration has them."""
        asked: Any = {"prompts": "random", "steps": self.steps, "layers": [LAYER]}
        if self.kind == "pairwise":
            return Pairwise(kind="pairwise", clusters=CLUSTERS, **asked)
        return Interpolation(kind="interpolation", **asked)


PATHS = Case("interpolation", 100)
WHOLE = replace(PATHS, steps=50)
PAIRS = (100, 1000, 10_000)
PROMPTS = (125, 250, 500, 1000)
STEPS = TOKENS = (10, 50, 200)


def main() -> None:
    from scripts._forking import MEMORY

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("results/scale"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    os.environ.update(MEMORY)  # as jobs have it; before the first process starts
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    with folders(args.folders) as models:
        for grows, name, size, case in cases(models, args.whole):
            row = {"grows": grows, "model": name, "size": size, **asdict(case)}
            rows.append(row | measured(models[name], case, args.threads))
            rows[-1] |= exponents(rows[-2:])
            values = ", ".join(f"{key} {rows[-1][key]:.3g}" for key in ("size", "cpu_s", "peak_mb"))
            print(f"{time.perf_counter() - began:4.0f} s  {name}, {grows}: {values}", flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.3g}".format))
    where = {"threads": args.threads, **machine(), **versions(["torch"])}
    write_csv(args.out / "scale.csv", table.assign(**where))


def cases(models: Mapping[str, Path], whole: bool) -> Iterator[tuple[str, str, int, Case]]:
    """What grows, a model, the size, and the case; in each series the sizes rise."""
    first, *_, last = [*models, *models]
    for number in PAIRS:
        yield "pairs", first, number, replace(WHOLE, number=number)
    for number in PROMPTS:
        yield "pairwise prompts", first, number, Case("pairwise", number, steps=6)
    for steps in STEPS:
        yield "steps", last, steps, replace(PATHS, steps=steps)
    for tokens in TOKENS:
        yield "tokens", last, tokens, replace(PATHS, tokens=tokens)
    for number in PAIRS[:2]:
        yield "prompts", last, number, Case("activations", number)
    shapes = {name: shape_of(read_json(path / "config.json")) for name, path in models.items()}
    weights = {name: shape.layers * shape.block_weights for name, shape in shapes.items()}
    for name in sorted(models, key=lambda name: weights[name]):
        yield "weights", name, weights[name], WHOLE
    for number in PAIRS:
        yield "pairs", last, number, replace(PATHS, number=number)
    if whole:
        yield "pairs, whole", last, PAIRS[-1], replace(WHOLE, number=PAIRS[-1])


def exponents(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the growth of time and of operations from a row to the next of its series."""
    before, after = rows[0], rows[-1]
    if before["grows"] != after["grows"] or before["size"] >= after["size"]:
        return {}
    grown = math.log(after["size"] / before["size"])
    return {
        f"{name}_exponent": math.log(after[name] / before[name]) / grown
        for name in ("cpu_s", "operations")
    }


def measured(folder: Path, case: Case, threads: int, budget: int = BUDGET) -> dict[str, Any]:
    """What a job takes, beside what the plan says: a row of the table."""
    context = multiprocessing.get_context("forkserver")  # of which no thread is at work
    context.set_forkserver_preload(["benchmarks.engine", "stable_regions.models.hooked"])
    with ProcessPoolExecutor(1, context) as process:
        spent = process.submit(run, folder, case, threads, budget).result()
    return planned(case, shape_of(read_json(folder / "config.json")), budget) | spent


def planned(case: Case, shape: Shape, budget: int) -> dict[str, Any]:
    """What the plan says of a job."""
    one: Any = {"stage": case.kind, "model": "", "jobs": 1, "threads": 1, "loads": 1}
    if case.kind == "activations":
        work = Work(**one, tokens=case.number * case.tokens, vectors=3 * case.number)
    else:
        points = case.settings.points(case.prompts, case.prompts.size({}))
        work = Work(
            **one, sweeps=[Sweep(each.way.name, "float32", each.number, [LAYER]) for each in points]
        )
    return {
        "points": work.points or work.tokens,
        "operations": work.operations(shape),
        "planned_mb": work.peak_memory(shape, budget) / 1e6,
        "output_mb": work.output_bytes(shape) / 1e6,
    }


def run(folder: Path, case: Case, threads: int, budget: int) -> dict[str, float]:
    """Do what a job does, in this process; what it took."""
    before = usage()
    family = read_json(folder / "config.json")["model_type"]
    measures = case.kind != "activations"  # with what was tried when these were cached
    engine = "fused" if measures and family in FAMILIES else "auto"
    model = load_model(folder, device="cpu", engine=engine, threads=threads)
    loaded = usage()
    random = torch.Generator().manual_seed(0)
    count = case.prompts.count
    tokens = torch.randint(model.vocab_size, (count, case.tokens), generator=random)
    prompts = pd.DataFrame({"prompt": range(count), "text": "", "tokens": tokens.tolist()})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "raw")
        if case.kind == "activations":
            write_safetensors(
                path, cache(model, list(prompts["tokens"]), [LAYER], budget=budget), {}
            )
        else:
            vectors = torch.randn(2, count, model.d_model, generator=random)
            activations = {f"resid.{LAYER}": vectors[0], "post_norm": vectors[1]}
            [part] = case.settings.parts(case.prompts, case.number * case.steps)
            data, facts = MEASURES[case.kind](
                Measuring(
                    model=model,
                    folder=folder,
                    activations=activations | {"top_token": tokens[:, -1]},
                    prompts=prompts,
                    pairs=(all_pairs if case.kind == "pairwise" else neighbour_pairs)(prompts),
                    others=(),
                    entry=case.settings.measuring(),
                    part=part,
                    budget=budget,
                    load=lambda dtype: model,
                )
            )
            write_raw(path, data, facts)
    after = usage()
    return {
        "cpu_s": after["cpu_s"] - loaded["cpu_s"],
        "peak_mb": after["peak_mb"] - before["peak_mb"],
    }


if __name__ == "__main__":
    main()
