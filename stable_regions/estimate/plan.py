"""An estimate of what a study takes, before it runs: a table of the work of each model."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stable_regions.base.progress import amount, duration
from stable_regions.estimate.workload import Machine, Source, Work, seconds_of
from stable_regions.models.shapes import Shape


def table(
    works: Sequence[Work],
    shapes: Mapping[str, Shape],
    sources: Mapping[str, Source],
    machine: Machine,
    *,
    budget: int,
    taken: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The plan: a row a model and stage, in the order of the work.

    Parameters
    ----------
    taken
        Seconds that jobs took in the last run on this machine, by their benchmark files. Work all
        of whose jobs are there is expected to take as long again.

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
        known = [taken[path] for path in work.benchmarks if path in taken] if taken else []
        whole = len(known) == work.jobs > 0
        seconds = sum(known) if whole else seconds_of(work, shape, machine)
        row["jobs"] += work.jobs
        row["points"] += work.points
        row["operations"] += work.operations(shape)
        there = work.gpu_of(machine) is not None
        row["core_seconds"] += seconds * (machine.cores if there else work.threads)
        memory = work.peak_memory(shape, budget)
        passing = shape.peak_memory({work.dtype}, 0) if there else memory
        row["memory"] = max(row["memory"], machine.baseline + passing)
        row["gpu_memory"] = max(row["gpu_memory"], memory if there else 0)
        row["disk"] += work.output_bytes(shape)
    seen: set[str] = set()
    for (model, _), row in rows.items():
        if model not in seen and model in sources:
            row["disk"] += sources[model].disk
            row["download"] += sources[model].download
        seen.add(model)
    return pd.DataFrame(list(rows.values()))


def report(
    plan: pd.DataFrame,
    machine: Machine,
    *,
    light_jobs: int,
    clustering: float,
    texts: float,
    calibrated: float,
    others: Sequence[float] = (),
) -> list[str]:
    """The plan as text: a line per model and stage, a line per model, and the total.

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
    others
        Seconds of the jobs that run no model in the last run, clusters among them.
    """
    additive = ["jobs", "points", "operations", "core_seconds", "disk", "download"]
    how = dict.fromkeys(additive, "sum") | {"memory": "max", "gpu_memory": "max"}
    by_model = plan.groupby("model", sort=False).agg(how).reset_index().assign(stage="all")
    rest = {
        "model": "(none)", "stage": "prompts, clusters, tables, figures", "jobs": light_jobs,
        "core_seconds": sum(others) + max(light_jobs - len(others), 0) * machine.light
        + (0 if others else clustering), "memory": machine.baseline,
        "disk": texts, "download": texts,
    }  # fmt: skip
    several = by_model["model"].isin(plan["model"].value_counts().loc[lambda n: n > 1].index)
    parts = []
    for model, some in plan.groupby("model", sort=False):
        parts += [some, by_model[several & (by_model["model"] == model)]]
    whole = pd.concat([plan, pd.DataFrame([rest])])
    total = whole.agg(how).to_dict() | {"model": "total", "stage": ""}
    rows = pd.concat([*parts, pd.DataFrame([rest, total])]).fillna(0)
    text = pd.DataFrame(
        {
            "model": rows["model"],
            "stage": rows["stage"],
            "jobs": rows["jobs"].astype(int),
            "points": [amount(n, "") for n in rows["points"]],
            "operations": [amount(n, "FLOP") for n in rows["operations"]],
            "time": [duration(n / machine.cores) for n in rows["core_seconds"]],
            "memory": [amount(n, "B") for n in rows["memory"]],
            "GPU memory": [amount(n, "B") for n in rows["gpu_memory"]],
            "disk": [amount(n, "B") for n in rows["disk"]],
            "download": [amount(n, "B") for n in rows["download"]],
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
