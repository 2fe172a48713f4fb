"""What a study will take, before it runs: jobs, points, operations, time, memory, disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from stable_regions.distances import DISTANCES
from stable_regions.gpus import Gpu
from stable_regions.progress import duration
from stable_regions.shapes import BYTES, Shape

# Bytes of memory that a job takes for its libraries, before it holds a model.
LIBRARIES = 600 * 10**6
NUMBER = 4  # bytes of one that is kept: activations, distances and weights are float32
# Numbers that are kept of a point: distances and steps at both read sites, and what comes to them.
LOGITS = ("predictions", "planes", "choices")  # ways that read them
KEPT = {"paths": 4, "short": 4, "predictions": 8, "gates": 6, "planes": 3}
KEPT["choices"] = 2 * (3 + len(DISTANCES))  # float64: the default, two read sites, distances


@dataclass(frozen=True)
class Cost:
    """Seconds of one thing: `fixed` once, and `block` for each block that runs."""

    fixed: float
    block: float

    def of(self, blocks: int) -> float:
        """Seconds with so many blocks."""
        return self.fixed + self.block * blocks


@dataclass(frozen=True)
class Sweep:
    """Points that are run on one model: in which way (of `calibration.WAYS`), and from where."""

    way: str
    dtype: str
    points: int  # at each write layer
    layers: Sequence[int]

    @property
    def name(self) -> str:
        """What its cost goes by."""
        return f"{self.way}.{self.dtype}"

    def operations(self, shape: Shape) -> int:
        """Floating-point operations."""
        return self.points * sum(
            shape.operations(n, logits=self.way in LOGITS) for n in self.layers
        )

    def seconds(self, cost: Cost, shape: Shape) -> float:
        """Wall time."""
        return self.points * sum(cost.of(shape.layers - 1 - n) for n in self.layers)


@dataclass(frozen=True)
class Work:
    """What one experiment, or a clean pass, or a training, asks of one model.

    Attributes
    ----------
    stage
        A kind of experiment, "activations" or "training".
    model
        As in the configuration, without a revision.
    jobs, threads, loads
        Jobs, processor cores of each, and how often they load a model (a checkpoint).
    dtype
        That the model is loaded in.
    sweeps
        Points that are run.
    tokens, updates
        Tokens of clean passes, or of training and in how many updates.
    vectors
        Activations that are kept, each as wide as the model.
    checkpoints
        Copies of the weights that training keeps.
    """

    stage: str
    model: str
    jobs: int
    threads: int
    loads: int
    dtype: str = "float32"
    sweeps: Sequence[Sweep] = ()
    tokens: int = 0
    updates: int = 0
    vectors: int = 0
    checkpoints: int = 0

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Work":
        """From plain values."""
        return cls(**{**fields, "sweeps": [Sweep(**each) for each in fields.get("sweeps", ())]})

    def gpu_of(self, machine: "Machine") -> Gpu | None:
        """The GPU that it runs on there, if any; training stays on the processor."""
        return None if self.stage == "training" else machine.gpu

    @property
    def ways(self) -> set[str]:
        """The ways whose cost a machine must know; tokens of a clean pass cost as points do."""
        clean = {f"paths.{self.dtype}"} if self.tokens and self.stage != "training" else set()
        return clean | {sweep.name for sweep in self.sweeps}

    @property
    def points(self) -> int:
        """Points of paths and planes, at all write layers."""
        return sum(sweep.points * len(sweep.layers) for sweep in self.sweeps)

    def kept(self, shape: Shape) -> int:
        """Bytes that stay on the disk."""
        of_points = sum(KEPT[s.way] * s.points * len(s.layers) for s in self.sweeps)
        numbers = of_points + self.vectors * shape.width + self.checkpoints * shape.weights
        return NUMBER * numbers

    def held(self, shape: Shape, budget: int) -> int:
        """Bytes of memory of one job, beside its libraries."""
        if self.stage == "training":  # weights, gradients, two moments, and what backward needs
            activations = 32 * shape.layers * shape.width * self.tokens // self.updates
            return 4 * NUMBER * shape.weights + activations
        return shape.held({self.dtype, *(sweep.dtype for sweep in self.sweeps)}, budget)

    def operations(self, shape: Shape) -> int:
        """Floating-point operations; training on a token takes three times running it."""
        a_token = 2 * (shape.layers * shape.block_weights + shape.head_weights)
        of_tokens = (3 if self.stage == "training" else 1) * self.tokens * a_token
        return of_tokens + sum(sweep.operations(shape) for sweep in self.sweeps)


@dataclass(frozen=True)
class Source:
    """What a model's files take: bytes to download, and the most bytes on the disk at a time."""

    download: int
    disk: int

    @classmethod
    def of(
        cls, shape: Shape, *, kind: str, revisions: int, checkpoints: bool, megabytes: float
    ) -> "Source":
        """By kind of source: checkpoints of the hub lie on the disk one at a time."""
        if kind == "package":
            packed = round(megabytes * 10**6)
            return cls(packed, packed + NUMBER * shape.weights)
        if kind == "hub":
            published = BYTES[shape.stored] * shape.weights
            return cls(published * revisions, published * (1 if checkpoints else revisions))
        return cls(0, NUMBER * shape.weights if kind == "random" else 0)


@dataclass(frozen=True)
class Machine:
    """Where a study is to run.

    Attributes
    ----------
    cores
        Processor cores, shared by the jobs.
    costs
        By model: seconds of a point, of a load and of an update (`Cost`), measured here.
    start, light
        Seconds that a job takes to start, one that runs a model and one that doesn't.
    baseline
        Bytes of memory of a process that has loaded its libraries.
    gpu
        One, in place of the processor, for whatever runs a model.
    """

    cores: int
    start: float
    light: float
    baseline: int
    costs: Mapping[str, Mapping[str, Cost]] = field(default_factory=dict)
    gpu: Gpu | None = None


def room(
    works: Sequence[Work], shapes: Mapping[str, Shape], sources: Mapping[str, Source], budget: int
) -> tuple[int, int]:
    """Bytes on the disk of a whole study, and bytes of memory of its largest job.

    What has no shape in `shapes` is left out.
    """
    known = [work for work in works if work.model in shapes]
    disk = sum(work.kept(shapes[work.model]) for work in known)
    held = (work.held(shapes[work.model], budget) for work in known)
    return disk + sum(source.disk for source in sources.values()), LIBRARIES + max(held, default=0)


def seconds_of(work: Work, shape: Shape, machine: Machine) -> float:
    """Wall time of all jobs of a piece of work, one after the other."""
    starts = work.jobs * machine.start
    if (gpu := work.gpu_of(machine)) is not None:
        return starts + gpu.seconds(work.operations(shape))
    costs = machine.costs[work.model]
    if work.stage == "training":
        return starts + work.updates * costs["update"].fixed
    a_token = costs[f"paths.{work.dtype}"] if work.tokens else Cost(0, 0)
    return (
        starts
        + work.loads * costs["load"].of(shape.layers)
        + work.tokens * a_token.of(shape.layers)
        + sum(sweep.seconds(costs[sweep.name], shape) for sweep in work.sweeps)
    )


def table(
    works: Sequence[Work],
    shapes: Mapping[str, Shape],
    sources: Mapping[str, Source],
    machine: Machine,
    *,
    budget: int,
) -> pd.DataFrame:
    """The plan: a row a model and stage, in the order of the work.

    Returns
    -------
    `model`, `stage`, `jobs`, `points`, `operations`, `core_seconds` (cores that jobs hold, times
    how long), `memory` and `gpu_memory` (bytes, the most that one job takes; with a GPU the weights
    pass through the former), `disk` and `download` (bytes; a model's own files stand in its first
    row).
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for work in works:
        shape = shapes[work.model]
        row = rows.setdefault(
            (work.model, work.stage),
            {"model": work.model, "stage": work.stage, "jobs": 0, "points": 0, "operations": 0,
             "core_seconds": 0.0, "memory": 0, "gpu_memory": 0, "disk": 0, "download": 0},
        )  # fmt: skip
        seconds = seconds_of(work, shape, machine)
        row["jobs"] += work.jobs
        row["points"] += work.points
        row["operations"] += work.operations(shape)
        there = work.gpu_of(machine) is not None
        row["core_seconds"] += seconds * (machine.cores if there else work.threads)
        held = work.held(shape, budget)
        passing = shape.held({work.dtype}, 0) if there else held
        row["memory"] = max(row["memory"], machine.baseline + passing)
        row["gpu_memory"] = max(row["gpu_memory"], held if there else 0)
        row["disk"] += work.kept(shape)
    seen: set[str] = set()
    for (model, _), row in rows.items():
        if model not in seen and model in sources:
            row["disk"] += sources[model].disk
            row["download"] += sources[model].download
        seen.add(model)
    return pd.DataFrame(list(rows.values()))


def amount(number: float, unit: str) -> str:
    """A number as a person reads it: `1.2 M`, `34 k`, `1.7 GB`; nothing for zero."""
    if not number:
        return ""
    prefixes = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, prefix = next(((s, p) for s, p in prefixes if number >= s), (1.0, ""))
    return f"{number / size:.3g} {prefix}{unit}".strip()


def report(
    plan: pd.DataFrame,
    machine: Machine,
    *,
    light_jobs: int,
    clustering: float,
    texts: float,
    calibrated: float,
) -> list[str]:
    """The plan as a person reads it: a line a model and stage, a line a model, and the total.

    Parameters
    ----------
    light_jobs
        Jobs that run no model.
    clustering
        Core seconds of those among them that cluster prompts.
    texts
        Bytes of packages and files of the hub with texts.
    calibrated
        Seconds that the calibration took.
    """
    additive = ["jobs", "points", "operations", "core_seconds", "disk", "download"]
    how = dict.fromkeys(additive, "sum") | {"memory": "max", "gpu_memory": "max"}
    by_model = plan.groupby("model", sort=False).agg(how).reset_index().assign(stage="all")
    rest = {
        "model": "(none)", "stage": "prompts, clusters, tables, figures", "jobs": light_jobs,
        "core_seconds": light_jobs * machine.light + clustering, "memory": machine.baseline,
        "disk": texts, "download": texts,
    }  # fmt: skip
    several = by_model["model"].isin(plan["model"].value_counts().loc[lambda n: n > 1].index)
    parts = []
    for model, some in plan.groupby("model", sort=False):
        parts += [some, by_model[several & (by_model["model"] == model)]]
    whole = pd.concat([plan, pd.DataFrame([rest])])
    total = whole.agg(how).to_dict() | {"model": "total", "stage": ""}
    shown = pd.concat([*parts, pd.DataFrame([rest, total])]).fillna(0)
    text = pd.DataFrame(
        {
            "model": shown["model"],
            "stage": shown["stage"],
            "jobs": shown["jobs"].astype(int),
            "points": [amount(n, "") for n in shown["points"]],
            "operations": [amount(n, "FLOP") for n in shown["operations"]],
            "time": [duration(n / machine.cores) for n in shown["core_seconds"]],
            "memory": [amount(n, "B") for n in shown["memory"]],
            "GPU memory": [amount(n, "B") for n in shown["gpu_memory"]],
            "disk": [amount(n, "B") for n in shown["disk"]],
            "download": [amount(n, "B") for n in shown["download"]],
        }
    )
    if machine.gpu is None:
        text = text.drop(columns="GPU memory")
        where = f"{machine.cores} cores of this machine, after {calibrated:.0f} s of calibration"
    else:
        where = (
            f"one {machine.gpu.name} at an assumed {machine.gpu.REACHED:.0%} of its "
            f"{machine.gpu.tflops} TFLOP/s in float32, with {machine.gpu.memory} GB, and "
            f"{machine.cores} cores for the rest"
        )
    columns = [[str(name), *map(str, text[name])] for name in text]
    widths = [max(map(len, column)) for column in columns]
    padded = [
        [each.ljust(width) if number < 2 else each.rjust(width) for each in column]
        for number, (column, width) in enumerate(zip(columns, widths, strict=True))
    ]
    return [
        *(" | ".join(row).rstrip() for row in zip(*padded, strict=True)),
        "",
        f"{duration(total['core_seconds'] / machine.cores)} on {where}. "
        "Time is that of all cores busy; memory that of the largest job.",
    ]
