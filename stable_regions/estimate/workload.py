"""What jobs take: points, operations, time, memory, disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stable_regions.estimate.gpus import Gpu
from stable_regions.experiments.kinds import WAYS
from stable_regions.models.shapes import KEPT, Shape

# Bytes of memory that a job takes for its libraries, before it holds a model.
LIBRARIES = 600 * 10**6


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
    """Points that are run on one model: in which way (of `WAYS`), and from where."""

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
            shape.operations(n, logits=WAYS[self.way].logits) for n in self.layers
        )

    def seconds(self, cost: Cost, shape: Shape) -> float:
        """Wall time."""
        return self.points * sum(cost.of(shape.layers - 1 - n) for n in self.layers)


@dataclass(frozen=True)
class Work:
    """The work of one experiment, clean pass or training on one model.

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
    benchmarks
        The files in which its jobs leave what they took, one a job.
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
    benchmarks: Sequence[str] = ()

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

    def output_bytes(self, shape: Shape) -> int:
        """Bytes that stay on the disk."""
        of_points = sum(
            WAYS[s.way].values_per_point * s.points * len(s.layers) for s in self.sweeps
        )
        numbers = of_points + self.vectors * shape.width + self.checkpoints * shape.weights
        return KEPT * numbers

    def peak_memory(self, shape: Shape, budget: int) -> int:
        """Bytes of memory of one job, beside its libraries."""
        if self.stage == "training":  # weights, gradients, two moments, and what backward needs
            activations = 32 * shape.layers * shape.width * self.tokens // self.updates
            return 4 * KEPT * shape.weights + activations
        return shape.peak_memory({self.dtype, *(sweep.dtype for sweep in self.sweeps)}, budget)

    def operations(self, shape: Shape) -> int:
        """Floating-point operations; training on a token takes three times running it."""
        a_token = 2 * (shape.layers * shape.block_weights + shape.head_weights)
        of_tokens = (3 if self.stage == "training" else 1) * self.tokens * a_token
        return of_tokens + sum(sweep.operations(shape) for sweep in self.sweeps)


@dataclass(frozen=True)
class Source:
    """The size of a model's files: bytes to download, and the most bytes on the disk at a time."""

    download: int
    disk: int


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


def disk_and_memory(
    works: Sequence[Work], shapes: Mapping[str, Shape], sources: Mapping[str, Source], budget: int
) -> tuple[int, int]:
    """Bytes on the disk of a whole study, and bytes of memory of its largest job.

    What has no shape in `shapes` is left out.
    """
    sized = [work for work in works if work.model in shapes]
    disk = sum(work.output_bytes(shapes[work.model]) for work in sized)
    memory = (work.peak_memory(shapes[work.model], budget) for work in sized)
    return disk + sum(source.disk for source in sources.values()), LIBRARIES + max(
        memory, default=0
    )


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
