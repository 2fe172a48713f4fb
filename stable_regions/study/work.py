"""The work that a study asks of each model: for the estimate, and the check of capacity."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stable_regions.base.errors import UserError
from stable_regions.estimate import capacity
from stable_regions.estimate.watch import LIGHT
from stable_regions.estimate.workload import Source, Sweep, Work, disk_and_memory
from stable_regions.sources.origin import FetchedSource, Origin
from stable_regions.study import paths, resources
from stable_regions.study.paths import split_ref
from stable_regions.study.study import Job, Study, job_rules


def works(study: Study) -> list[Work]:
    """What the study asks of each model, job by job."""
    all_works = [
        Work(
            "training",
            model,
            jobs=1,
            threads=resources.threads(study, model),
            loads=0,
            tokens=source.tokens,
            updates=source.steps,
            checkpoints=2 * len(study.checkpoints[model]),  # as trained, and with a tokenizer
            benchmarks=[f"logs/train/{model}.benchmark.tsv"],
        )
        for model, source in study.trained.items()
    ]
    for prompts, jobs in study.activation_jobs.items():
        size = study.size(prompts)
        for job in jobs.values():
            sites = 2 + sum(
                len(layers(prompts, job.refs[0]))
                for layers in (study.write_layers, study.clean_layers)
            )
            count = size.contexts * size.prompts * len(job.refs)
            tokens = study.tokens(prompts) * len(job.refs)
            all_works.append(
                _work(
                    study, "activations", "activations", job, tokens=tokens, vectors=count * sites
                )
            )
    for kind in study.kinds:
        for name in study.of_kind(kind):
            for job in study.measuring_jobs[name].values():
                dtype, layers = study.model(job.name).dtype, study.entry(name).layers
                sweeps = [
                    Sweep(each.way.name, each.dtype or dtype, each.number * len(job.refs), layers)
                    for each in study.sweeps(name)
                ]
                all_works.append(
                    _work(study, kind.folder, study.entry(name).kind, job, sweeps=sweeps)
                )
    return all_works


def expected(study: Study) -> dict[str, float]:
    """Seconds that a job which runs a model may take, in the mean, by the name of its rule.

    At an assumed speed: they say what one job is beside another, before anything is measured.
    """
    swept = [(rule, resources.points) for _, rule in study.measuring_rules()]
    cached = [(rule, Study.tokens) for rule in study.activation_rules()]
    seconds: dict[str, list[float]] = {}
    for rule, number in [*swept, *cached]:
        for job in rule.jobs:
            taken = resources.seconds(study, job.name, number(study, job.of))
            seconds.setdefault(rule.name, []).extend([len(job.refs) * taken] * len(job.parts))
    if study.trained:
        seconds["train"] = [
            resources.seconds(study, name, 3 * source.tokens)
            for name, source in study.trained.items()
        ]
    return {rule: LIGHT + sum(some) / len(some) for rule, some in seconds.items()}


def _work(study: Study, folder: str, stage: str, job: Job, **asked: Any) -> Work:
    """The fields that every job has that runs models."""
    return Work(
        stage,
        split_ref(job.name)[0],
        jobs=len(job.parts),
        threads=resources.threads(study, job.name),
        loads=len(job.parts) * len(job.refs),
        dtype=study.model(job.name).dtype,
        benchmarks=[
            path
            for rule in job_rules("", [job])
            for path in rule.each(rule.log(f"logs/{study.name}/{folder}/{job.of}", "benchmark.tsv"))
        ],
        **asked,
    )


def sources(study: Study) -> dict[str, Source]:
    """What each model's files take, where its shape is known."""
    return {
        model: Source(*source.takes(study.config, shape, revisions))
        for model in study.models
        if (shape := study.shape(model))
        for source in [study.config.models[model].source]
        for revisions in [sum(split_ref(ref)[0] == model for ref in study.refs)]
    }


def texts(study: Study) -> float:
    """Megabytes of the packages, and of the hub's files, that the study's texts come in."""
    downloads: dict[Any, float] = {}
    for name in study.corpora:
        downloads |= study.config.corpora[name].downloads(study.config)
    return sum(downloads.values())


def tabulating(study: Study) -> list[tuple[str, dict[str, int]]]:
    """The experiments whose tables take long, with their kinds."""
    tables = []
    for name, refs in study.experiments.items():
        entry = study.entry(name)
        if facts := entry.tabulating(study.size(entry.prompts), len(refs)):
            tables.append((entry.kind, facts))
    return tables


def check_names(study: Study) -> None:
    """UserError, one line, if anything that is still to be fetched is not where it is said to be.

    Before hours of downloads and of work, and with all that is absent.
    """
    revisions: dict[str, list[str]] = {}
    for ref in study.refs:
        name, revision = split_ref(ref)
        source = study.config.models[name].source
        if isinstance(source, FetchedSource) and not Path(paths.facts(ref)).exists():
            revisions.setdefault(name, []).append(revision or source.revision)
    asked: list[tuple[Origin, list[str]]] = [
        (study.config.models[name].source, some) for name, some in revisions.items()
    ]
    asked += [
        (study.config.corpora[name], [])
        for name in study.corpora
        if not Path(paths.corpus(name)).exists()
    ]
    with ThreadPoolExecutor(8) as pool:
        lines = list(pool.map(lambda one: one[0].absent(one[1]), asked))
    if found := list(dict.fromkeys(itertools.chain(*lines))):
        raise UserError(f"study {study.name}: {'; '.join(found)}")


def check_capacity(study: Study, *, local: bool) -> None:
    """UserError if this machine's disk or memory is too small for the study.

    What is fetched is held against the disk of its cache at that time. On a GPU or under a
    scheduler it is not this machine's memory that counts.

    Parameters
    ----------
    local
        Whether jobs run on this machine.
    """
    shapes = {name: shape for name in study.models if (shape := study.shape(name))}
    origins = {
        name: taken
        for name, taken in sources(study).items()
        if study.model(name).source.way != "fetched"
    }
    budget = study.config.compute.memory_budget_mb * 2**20
    disk, memory = disk_and_memory(works(study), shapes, origins, budget)
    folders = [paths.model(ref) for ref in study.refs] + list(map(paths.training, study.trained))
    try:
        capacity.check_disk(disk, capacity.bytes_below([f"results/{study.name}", *folders]))
        if local and not any(resources.gpus(study, ref, local=local) for ref in study.refs):
            capacity.check_memory(memory)
    except UserError as error:
        raise UserError(f"study {study.name}: {error}") from None
