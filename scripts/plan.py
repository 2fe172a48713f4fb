"""Estimate what a study takes: jobs, points, operations, time, memory, disk, downloads."""

import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from _job import job

from stable_regions.base.errors import UserError, printable
from stable_regions.estimate import calibration, plan
from stable_regions.estimate.costs import seconds_taken
from stable_regions.estimate.gpus import GPUS
from stable_regions.estimate.workload import Cost, Machine, Source, Work
from stable_regions.models.shapes import Shape
from stable_regions.training.settings import TrainingSettings


def shape(model: str, values: dict[str, Any] | None) -> Shape:
    """A model's shape from plain values."""
    if values is None:
        raise UserError(
            f"models.{model}: has no shape; give one, or fetch its config first: "
            f"snakemake resources/configs/{model}"
        )
    return Shape(**values)


def jobs_in_all(python: str, snakefile: str, config: dict[str, Any]) -> int:
    """The number of jobs of the whole study from scratch, counted by a dry run."""
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch, "config.yaml")
        merged.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [
            python, "-m", "snakemake", "--snakefile", snakefile, "--configfile", str(merged),
            "--dry-run", "--forceall", "--nolock", "--quiet", "rules",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    totals = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("total ")]
    if not totals:
        raise UserError(f"the study's jobs cannot be counted: {done.stdout.strip()[-300:]}")
    return int(totals[-1])


with job(snakemake) as log:
    params, cores = snakemake.params, snakemake.threads
    budget = params.budget_mb * 2**20
    shapes = {
        model: shape(model, facts_of_shape) for model, facts_of_shape in params.shapes.items()
    }
    works = [Work.of(fields) for fields in params.works]
    sources = {model: Source(**taken) for model, taken in params.sources.items()}
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.monotonic()
    costs: dict[Any, Any] = {}
    threads = {work.model: work.threads for work in works}
    dtypes = {work.model: work.dtype for work in works}
    alike_in = lambda model: (shapes[model], threads[model], dtypes[model])  # noqa: E731
    for model in shapes:
        alike = [m for m in shapes if alike_in(m) == alike_in(model)]
        if model == alike[0] and params.gpu is None:
            log.info("a few seconds of the work of %s", ", ".join(alike))
            ways = {way for w in works if w.model in alike for way in w.ways}
            measured = calibration.sweep_costs(
                shapes[model], ways, dtype=dtypes[model], threads=threads[model], budget=budget
            )
            costs |= {other: dict(measured) for other in alike}
        if model in params.training:
            settings = TrainingSettings(**params.training[model])
            seconds = calibration.training_seconds(
                settings, shapes[model].vocabulary, threads[model]
            )
            costs.setdefault(model, {})["update"] = Cost(seconds, 0)
    machine = Machine(
        cores=cores,
        start=calibration.start_seconds("stable_regions.models.load", forks=params.forks),
        light=calibration.start_seconds(
            "stable_regions.experiments.interpolation.tables", forks=params.forks
        ),
        baseline=baseline,
        costs=costs,
        gpu=GPUS[params.gpu] if params.gpu else None,
    )
    clustering = sum(calibration.tabulating_seconds(*each) for each in params.tabulating)
    spent = time.monotonic() - began
    # What the last run took, if it was on this machine
    taken = {} if params.gpu else seconds_taken([f"logs/{params.study}", "logs/train"])
    of_models = {path for work in works for path in work.benchmarks}
    others = [seconds for path, seconds in taken.items() if path not in of_models]
    log.info("%d jobs have left what they took in the last run", len(taken))
    table = plan.table(works, shapes, sources, machine, budget=budget, taken=taken)
    light = jobs_in_all(params.python, params.snakefile, params.config) - int(table["jobs"].sum())
    print(printable(f"\nStudy {params.study}: {params.title}\n"))
    print("\n".join(plan.report(
        table, machine, light_jobs=light, clustering=clustering,
        texts=params.texts_mb * 10**6, calibrated=spent, others=others,
    )))  # fmt: skip
