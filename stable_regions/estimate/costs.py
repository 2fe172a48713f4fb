"""The run time of each stage, from the benchmark files of Snakemake."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd


def read_benchmark(path: Path) -> pd.DataFrame:
    """The numbers of a benchmark file; one below zero, of a clock that was set back, is missing."""
    table = pd.read_csv(path, sep="\t").apply(pd.to_numeric, errors="coerce")
    return table.where(table >= 0)


def seconds_taken(folders: Iterable[str | Path]) -> dict[str, float]:
    """Wall time of each job below some folders that left it in a benchmark file, by its path."""
    paths = (path for folder in folders for path in Path(folder).rglob("*.benchmark.tsv"))
    taken = {path.as_posix(): read_benchmark(path)["s"] for path in paths}
    return {path: float(seconds.sum()) for path, seconds in taken.items() if seconds.notna().all()}


def cost_table(timed: Mapping[str, Sequence[str | Path]]) -> pd.DataFrame:
    """Add up the jobs of each stage that have a benchmark file; jobs of earlier runs may have none.

    Parameters
    ----------
    timed
        By stage, the benchmark files of its jobs.

    Returns
    -------
    One row a `stage` that has notes: `jobs`, `seconds` (of all jobs, one after the other),
    `processor_seconds`, `memory_mb` (the peak of one job). A job too short to be looked at
    counts as nothing.
    """
    rows = []
    for stage, paths in timed.items():
        parts = [read_benchmark(path) for path in map(Path, paths) if path.exists()]
        if parts:
            benchmarks = pd.concat(parts)
            rows.append(
                {
                    "stage": stage,
                    "jobs": len(benchmarks),
                    "seconds": benchmarks["s"].sum(),
                    "processor_seconds": benchmarks["cpu_time"].sum(),
                    "memory_mb": benchmarks["max_rss"].fillna(0).max(),
                }
            )
    columns = ["stage", "jobs", "seconds", "processor_seconds", "memory_mb"]
    return pd.DataFrame(rows, columns=columns)
