"""Cost of the same points, the usual ways and ours, side by side in one run.

    python -m benchmarks.engine [FOLDER ...] [--out results/speed] [--threads 2] [--repeats 3]

The ways, each of which has its turn in every round:

- a pass a step: Hugging Face, one forward pass of the whole prompt for each point, with all its
  logits, as the authors do;
- hooks: TransformerLens, the whole prompt again for each point, the points of a pair in one batch;
- bridge, fused: the sweeps of this package, through TransformerLens and written out.

Beside them stand the products: the matrix products of as many points as a sweep has in a batch,
with nothing between them. Useful operations are those of products that no way can spare: each
point's after the write layer, and those of the rest of a prompt, once. Their share is of the rate
that the products alone reach.

A pass a step and hooks cost the same for any number of points: of long runs they do a part. Peak
memory is that of a process of its own, above what Python with its libraries holds. A profile says
which operators a sweep spends its time in.

A FOLDER is a model's. Without any they are three models of the suite, with random weights where
they are not trained, and SmolLM2-135M (`snakemake resources/models/smollm2-135m`). The tables
`engine.csv`, `memory.csv` and `profile.csv` and a figure, the last three of the last model, are
written to `--out`.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from torch import Tensor
from transformers import AutoModelForCausalLM

from stable_regions.audit.provenance import machine, versions
from stable_regions.base.files import read_json, write_csv
from stable_regions.experiments.interpolation.measure import READ_SITES, path_points
from stable_regions.figures import style
from stable_regions.models.load import load_model
from stable_regions.models.model import Model
from stable_regions.models.shapes import Shape, shape_of
from stable_regions.models.sweep import batch_rows, full_forward, sweep
from stable_regions.study.config import load
from stable_regions.training.train import first_model

ROOT = Path(__file__).parent.parent
LAYER = 0
BUDGET = 512 * 2**20
SUITE = ("suite-d8-w32", "suite-d16-w64", "suite-d8-w128")
WAYS = ("a pass a step", "hooks", "bridge", "fused")
# Tokens that a pass a step and hooks run in one round, to keep it short.
PART = 500
ALLOWED = 1e-3  # difference of two ways' outputs, relative to their norm


@dataclass(frozen=True)
class Case:
    """Paths to run: all in one context if `shared`, else each in its own."""

    pairs: int = 16
    steps: int = 50
    tokens: int = 10
    shared: bool = False

    @property
    def points(self) -> int:
        return self.pairs * self.steps

    def part(self) -> list[tuple[int, int]]:
        """Pairs, and points of each, that make up a short run."""
        left = min(self.points, max(1, PART // self.tokens))
        return [
            (pair, min(self.steps, left - start))
            for pair, start in enumerate(range(0, left, self.steps))
        ]


BASE = Case()
CASES = (
    BASE,
    *(Case(tokens=tokens) for tokens in (30, 100, 200)),
    *(Case(tokens=tokens, shared=True) for tokens in (10, 30, 100, 200)),
    *(Case(steps=steps) for steps in (10, 100)),
    *(Case(pairs=pairs) for pairs in (1, 4)),
)
MEMORY = (Case(pairs=200), Case(pairs=400))  # of SmolLM2-135M 195 fill the budget


class Paths:
    """Paths between random activations, behind random prompts; what they hold costs nothing."""

    def __init__(self, case: Case, shape: Shape) -> None:
        random = torch.Generator().manual_seed(0)
        size = (case.pairs, case.tokens)
        self.case = case
        self.tokens = torch.randint(shape.vocabulary, size, generator=random)
        self.context_of = torch.arange(case.pairs) * (not case.shared)
        self.ends = torch.randn(2, case.pairs, shape.width, generator=random)

    def points(self, pairs: slice) -> Tensor:
        start, end = self.ends[:, pairs]
        return path_points(start, end, torch.linspace(0, 1, self.case.steps))


# Runs paths; gives the number of points that were run, and the outputs of the first of them.
Way = Callable[[Paths], tuple[int, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("results/speed"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - began:4.0f} s  {text}", flush=True)

    with folders(args.folders) as models:
        main_one = list(models)[-1]
        memory = peaks(models[main_one], args.threads, say)  # a process with threads can't fork
        spent = profiled(models[main_one], args.threads)
        rows = []
        for name, folder in models.items():
            rows += timings(folder, name, args.repeats, args.threads, say)
    table = pd.DataFrame(rows)
    where = {"threads": args.threads, **machine(), **versions(["torch", "transformers"])}
    write_csv(args.out / "memory.csv", memory.assign(model=main_one, **where))
    write_csv(args.out / "profile.csv", spent.assign(model=main_one, **where))
    path = str(args.out / "engine")
    drawn = draw(table, memory, main_one)
    style.save(drawn, table.assign(**where), f"{path}.csv", f"{path}.pdf", f"{path}.png")
    base = table[table["model"] == main_one].drop(columns=["model", "parameters"])
    for some in (base, memory, spent):
        print(some.to_string(index=False, float_format="{:.3g}".format))
    say(f"written to {args.out}")


@contextmanager
def folders(paths: Sequence[Path]) -> Iterator[dict[str, Path]]:
    """Model folders by the name they go by."""
    if paths:
        yield {folder.name: folder for folder in paths}
        return
    config = load(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    folders_by_name: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in SUITE:
            source: Any = config.models[name].source
            trained = ROOT / "resources/models" / f"{name}@step{source.steps}"
            if trained.exists():
                folders_by_name[name] = trained
                continue
            folders_by_name[f"{name}, random"] = target = Path(scratch, name)
            vocabulary = config.tokenizers[source.tokenizer].vocabulary
            first_model(source.settings(), vocabulary).save_pretrained(target)
        yield folders_by_name | {"smollm2-135m": ROOT / "resources/models/smollm2-135m"}


def timings(
    folder: Path, name: str, repeats: int, threads: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row a case and way: the median over the rounds, in each of which every way has a turn."""
    shape = shape_of(read_json(folder / "config.json"))
    hf, model = hugging_face(folder), load_model(folder, device="cpu", threads=threads)
    ways: dict[str, Way] = {"a pass a step": partial(full_passes, hf), **of_model(model)}
    rows: list[dict[str, Any]] = []
    for case in (case for case in CASES if case.tokens <= model.max_tokens):
        paths = Paths(case, shape)
        if case == BASE:
            agree({way: run(paths)[1] for way, run in ways.items()})
        seconds: dict[str, list[float]] = {}
        for _ in range(repeats):
            for way, run in ways.items():
                start = time.perf_counter()
                points, _ = run(paths)
                seconds.setdefault(way, []).append((time.perf_counter() - start) / points)
            rate = products(hf, model, case)
            seconds.setdefault("products", []).append(shape.operations(LAYER, logits=False) / rate)
        cost = {way: median(times) for way, times in seconds.items()}
        fixed = {"model": name, "parameters": model.n_parameters, **asdict(case)}
        rows += [fixed | row for row in summary(cost, case, shape)]
        say(
            f"{name}, {case}: {cost[model.engine] * 1e6:.0f} us a point, "
            f"{cost['a pass a step'] / cost[model.engine]:.1f} times as fast as a pass a step"
        )
    return rows


def summary(cost: Mapping[str, float], case: Case, shape: Shape) -> Iterator[dict[str, Any]]:
    """A case's rows, from the seconds a point of each way."""
    prefixes = (1 if case.shared else case.pairs) * (case.tokens - 1) / case.points
    for way, times in cost.items():
        useful = 1 if way == "products" else 1 + prefixes
        yield {
            "way": way,
            "us_a_point": times * 1e6,
            "times_a_pass": cost["a pass a step"] / times,
            "useful_gflops": shape.operations(LAYER, logits=False) * useful / times / 1e9,
            "useful_share": useful * cost["products"] / times,
        }


def hugging_face(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def of_model(model: Model) -> dict[str, Way]:
    """The ways that go through a model of ours."""
    bridge = replace(model, fused=None)
    ways: dict[str, Way] = {"hooks": partial(hooks, bridge), "bridge": partial(swept, bridge)}
    return ways | ({"fused": partial(swept, model)} if model.fused else {})


@torch.no_grad()
def full_passes(hf: Any, paths: Paths) -> tuple[int, Tensor]:
    activation = torch.empty_like(paths.ends[0, 0])

    def write(_: object, __: object, out: Tensor) -> Tensor:
        out[:, -1] = activation
        return out

    outputs = []
    handle = hf.base_model.layers[LAYER].register_forward_hook(write)
    for pair, count in paths.case.part():
        tokens = paths.tokens[paths.context_of[pair]][None]
        for point in paths.points(slice(pair, pair + 1))[0, :count]:
            activation.copy_(point)
            outputs.append(hf(tokens, output_hidden_states=True).hidden_states[-1][0, -1])
    handle.remove()
    return len(outputs), torch.stack(outputs)


def hooks(model: Model, paths: Paths) -> tuple[int, Tensor]:
    batches = []
    for pair, count in paths.case.part():
        tokens = paths.tokens[paths.context_of[pair]]
        points = paths.points(slice(pair, pair + 1))[0, :count]
        batches.append(full_forward(model, LAYER, tokens, points, ["post_norm"])["post_norm"])
    outputs = torch.cat(batches)
    return len(outputs), outputs


def swept(model: Model, paths: Paths) -> tuple[int, Tensor]:
    arguments = (paths.tokens, paths.context_of, paths.points, READ_SITES)
    first = torch.empty(0)
    for part, out in sweep(model, LAYER, *arguments, budget=BUDGET):
        if part.start == 0:
            first = out["post_norm"].flatten(0, 1)
    return paths.case.points, first


def agree(outputs: Mapping[str, Tensor]) -> None:
    """Stop unless all ways gave the same outputs, as far as each went."""
    first = outputs["a pass a step"]
    for way, output in outputs.items():
        gap = (output[: len(first)] - first[: len(output)]).norm(dim=-1).max()
        if not gap <= ALLOWED * first.norm(dim=-1).max():
            sys.exit(f"error: {way}: outputs are {gap:.1e} away from those of a pass a step")


@torch.no_grad()
def products(hf: Any, model: Model, case: Case) -> float:
    """Operations a second of a sweep's products alone, on as many points as one batch has."""
    rows = batch_rows(model, k=case.steps, seq=case.tokens, sites=READ_SITES, budget=BUDGET)
    count = min(rows, case.pairs) * case.steps
    layers = [
        layer
        for block in hf.base_model.layers[LAYER + 1 :]
        for layer in block.modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    inputs = {width: torch.randn(count, width) for width in {each.in_features for each in layers}}
    operations = 2 * count * sum(layer.weight.numel() for layer in layers)
    start = time.perf_counter()
    for layer in layers:
        layer(inputs[layer.in_features])
    return operations / (time.perf_counter() - start)


def profiled(folder: Path, threads: int) -> pd.DataFrame:
    """Where a sweep's time goes, by torch's operators: those of a hundredth or more."""
    model = load_model(folder, device="cpu", threads=threads)
    paths = Paths(BASE, shape_of(read_json(folder / "config.json")))
    swept(model, paths)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        swept(model, paths)
    spent = {each.key: each.self_cpu_time_total for each in profile.key_averages()}
    shares = pd.Series(spent).sort_values(ascending=False) / sum(spent.values())
    largest = shares[shares >= 0.01]
    return pd.DataFrame(
        {"engine": model.engine, "operator": largest.index, "share": largest.to_numpy()}
    )


def peaks(folder: Path, threads: int, say: Callable[[str], None]) -> pd.DataFrame:
    """Peak memory of each way, in a process of its own."""
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    rows = []
    for way in WAYS:
        for case in MEMORY:
            with multiprocessing.get_context("fork").Pool(1) as pool:
                bytes_used = pool.apply(peak, (folder, way, case, threads))
            rows.append(
                {"way": way, "pairs": case.pairs, "peak_mb": bytes_used / 2**20,
                 "weights_mb": weights / 2**20, "budget_mb": BUDGET / 2**20,
                 "of_weights_and_budget": bytes_used / (weights + BUDGET)}
            )  # fmt: skip
            say(f"{folder.name}, {way}, {case.pairs} pairs: at most {bytes_used / 2**20:.0f} MB")
    return pd.DataFrame(rows)


def peak(folder: Path, way: str, case: Case, threads: int) -> int:
    """Bytes that loading and running a way, as a job does, adds at most to this process."""
    from stable_regions.models import hooked as bridge  # noqa: F401  # libraries are not what is measured

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.set_num_threads(threads)
    run: Way
    if way == "a pass a step":
        run = partial(full_passes, hugging_face(folder))
    else:
        engine = "fused" if way == "fused" else "bridge"
        run = of_model(load_model(folder, device="cpu", engine=engine, threads=threads))[way]
    run(Paths(case, shape_of(read_json(folder / "config.json"))))
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)  # kB on Linux


def draw(table: pd.DataFrame, memory: pd.DataFrame, model: str) -> Figure:
    """Cost against what it may depend on, the share of useful operations, and peak memory."""
    style.use()
    figure, axes = plt.subplots(2, 3, figsize=(style.FULL, 4.6))
    looks = {way: {"color": style.COLOURS[n], "ls": style.DASHES[n]} for n, way in enumerate(WAYS)}
    against = {"tokens": "tokens of a prompt", "steps": "steps", "pairs": "pairs",
               "parameters": "parameters"}  # fmt: skip
    for axis, letter, (column, label) in zip(axes.flat, "abcd", against.items(), strict=False):
        fixed = {name: value for name, value in asdict(BASE).items() if name != column}
        some = table[(table[list(fixed)] == pd.Series(fixed)).all(axis=1)].sort_values(column)
        if column != "parameters":
            some = some[some["model"] == model]
        lines = {way: some[some["way"] == way] for way in WAYS}
        for way, line in lines.items():
            axis.plot(line[column], line["us_a_point"], marker=".", label=way, **looks[way])
        if column == "tokens":
            line = table[table["shared"] & (table["model"] == model) & (table["way"] == "fused")]
            look = {"color": style.COLOURS[4], "ls": style.DASHES[4]}
            axis.plot(
                line[column], line["us_a_point"], marker=".", label="fused, one context", **look
            )
            figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=5)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="µs a point")
        style.panel(axis, letter, f"cost by {column}")
    share, peak_axes = axes.flat[4:]
    base = table[(table[list(asdict(BASE))] == pd.Series(asdict(BASE))).all(axis=1)]
    for way in WAYS:
        line = base[base["way"] == way].sort_values("parameters")
        share.plot(line["parameters"], line["useful_share"], marker=".", **looks[way])
    share.set(xscale="log", ylim=(0, 1), xlabel="parameters", ylabel="share of the products' rate")
    style.panel(share, "e", "useful operations")
    for n, way in enumerate(WAYS):
        line = memory[memory["way"] == way]
        for place, (_, one) in enumerate(line.iterrows()):
            peak_axes.bar(n + 0.4 * place - 0.2, one["peak_mb"], 0.36, color=style.COLOURS[n])
    peak_axes.axhline(memory["weights_mb"].iloc[0], color="0.6", lw=0.6)
    peak_axes.set(xticks=range(len(WAYS)), ylabel="MB")
    peak_axes.set_xlabel(" and ".join(f"{case.pairs}" for case in MEMORY) + " pairs")
    peak_axes.set_xticklabels(WAYS, rotation=30, ha="right")
    style.panel(peak_axes, "f", "peak memory")
    return figure


if __name__ == "__main__":
    main()
