"""Resources of jobs: threads, memory, time, GPUs and priority."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from stable_regions.estimate import gpus as machine
from stable_regions.study.paths import split_ref
from stable_regions.study.study import Job, Study

FIRST_FIGURE = 2000  # the priority of what the first figure is made of: before training
LONGEST = 100  # the priority of a job that takes long, where the shortest has 0
STEP = 200  # between the priorities of two models that are fetched: more than `priority` spans
# Operations a second, slow for what it is: a core does 37 GFLOP/s or more in a sweep, and a T4
# would do three TFLOP/s at 40 % of its peak.
CORE_SPEED, GPU_SPEED = 20e9, 2e12
FETCH_SPEED = 100e6  # bytes a second of weights, from a shared file system


def threads(study: Study, ref: str) -> int:
    """Threads of the jobs that run a model."""
    return study.model(ref).threads or study.config.compute.threads


def compute(study: Study, ref: str) -> dict[str, Any]:
    """The compute settings of a model, as plain values."""
    ours, model = study.config.compute, study.model(ref)
    return {
        "threads": threads(study, ref),
        "device": model.device or ours.device,
        "device_map": model.device_map,
        "memory_budget_mb": ours.memory_budget_mb,
        **ours.model_dump(include={"engine"}, exclude_none=True),
    }


def gpus(study: Study, ref: str, *, local: bool) -> int:
    """The number of GPUs of a job that runs a model; on "auto" only if this machine has any.

    On a cluster they must be named, by `device: cuda`: there this machine is only where jobs are
    submitted, and a node may have GPUs that a job was not given.

    Parameters
    ----------
    local
        Whether jobs run on this machine.
    """
    model = study.model(ref)
    device = model.device or study.config.compute.device
    here = device == "auto" and local and machine.here()
    return model.gpus if here or device.startswith("cuda") else 0


def memory(study: Study, ref: str, others: Iterable[str] = ()) -> int:
    """Megabytes of memory that a job requests to run a model, in other dtypes too."""
    shape = study.shape(split_ref(ref)[0])
    if shape is None:
        return 16_000
    dtypes = [study.model(ref).dtype, *others]
    peak = shape.peak_memory(dtypes, study.config.compute.memory_budget_mb * 2**20)
    return 1_500 + peak // 10**6  # the libraries take 0.6 GB; the rest is to be safe


def seconds(study: Study, ref: str, points: int, gpus: int = 0) -> float:
    """Seconds that it takes to load a model and to run points or tokens on it, at a slow pace.

    Nothing where the model's shape is not known yet.
    """
    shape = study.shape(split_ref(ref)[0])
    if shape is None:
        return 0.0
    speed = gpus * GPU_SPEED or threads(study, ref) * CORE_SPEED
    return points * shape.operations(-1, logits=True) / speed + 4 * shape.weights / FETCH_SPEED


def minutes(study: Study, ref: str, points: int, gpus: int = 0) -> int:
    """An upper bound on the minutes to load a model and run points or tokens on it."""
    if study.shape(split_ref(ref)[0]) is None:
        return 240
    return 10 + math.ceil(seconds(study, ref, points, gpus) / 60)


class Request(NamedTuple):
    """What a job requests from a scheduler: megabytes of memory, minutes, GPUs."""

    memory: int
    minutes: int
    gpus: int


def caching(study: Study, job: Job, *, local: bool) -> Request:
    """The request of a job that caches activations."""
    return _request(study, job, study.tokens(job.of), local=local)


def measuring(study: Study, job: Job, *, local: bool) -> Request:
    """The request of a job that measures models."""
    others = study.entry(job.of).other_dtypes()
    return _request(study, job, points(study, job.of), others, local=local)


def _request(
    study: Study, job: Job, points: int, others: Iterable[str] = (), *, local: bool
) -> Request:
    gpu_count = gpus(study, job.name, local=local)
    time = len(job.refs) * minutes(study, job.name, points, gpu_count)
    return Request(memory(study, job.name, others), time, gpu_count)


def points(study: Study, experiment: str) -> int:
    """Points that one job of an experiment runs one model on."""
    return study.points(experiment) // study.parts(experiment)


def step(study: Study, ref: str) -> int:
    """The place of a model among the study's fetched ones, by size, the smallest first.

    0 for a model that is not fetched. Work goes up the steps, so that whoever stops early has
    finished what is about the small models rather than a part of everything.
    """
    fetched = {
        name: shape.weights if (shape := study.shape(name)) else math.inf
        for name in study.models
        if study.model(name).source.way == "fetched"
    }
    name, _ = split_ref(study.twins.get(ref, ref))
    return sorted(set(fetched.values())).index(fetched[name]) if name in fetched else 0


def priority(study: Study, experiment: str, ref: str) -> int:
    """The priority of an experiment's jobs on a model: step by step.

    Within a step those are first whose clusters are still to be scored, and longer ones before
    others, so that none runs alone at the end; but before all, training too, comes what the first
    figure is made of.
    """
    if study.config.prompts[study.entry(experiment).prompts].first:
        return FIRST_FIGURE
    clustered = experiment in study.on_page("maps")
    longest = LONGEST if clustered else min(LONGEST, points(study, experiment) // 1000)
    return longest - STEP * step(study, ref)


def caching_priority(study: Study, prompts: str, job: str) -> int:
    """The same of the jobs that cache activations: that of the first that waits for them."""
    cached = set(study.activation_jobs[prompts][job].refs)
    return max(
        priority(study, name, job)
        for name, refs in study.experiments.items()
        if study.entry(name).prompts == prompts and cached & set(refs)
    )


def fetching_priority(study: Study, ref: str) -> int:
    """The same of the job that fetches a model: when the step before it is done."""
    for name, refs in study.experiments.items():
        if ref in refs and study.config.prompts[study.entry(name).prompts].first:
            return FIRST_FIGURE
    return -10 - STEP * step(study, ref)


def text_priority(study: Study, corpus: str) -> int:
    """The same of a corpus that is fetched: one that choices are varied on is not waited for."""
    first = {study.entry(name).prompts for name in study.experiments}
    needed = {name for prompts in first for name in study.config.prompts[prompts].corpora()}
    return 0 if corpus in needed else -STEP // 2
