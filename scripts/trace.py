"""Trace a result back to prompts, models and packages: a tree on the screen, and as JSON."""

from pathlib import Path

from _job import job

from stable_regions.audit import manifest, records, trace
from stable_regions.base.errors import UserError, printable

with job(snakemake) as log:
    results = Path(snakemake.params.results)
    if snakemake.params.target is None:
        raise UserError(
            "no target to trace: give a file, FILE:LINE, a claim or a number of the paper, with "
            "`snakemake trace --config target=...`"
        )
    target = trace.resolve(str(snakemake.params.target), results)
    jobs = records.load_records(Path("logs"))
    if (results / manifest.NAME).exists():
        jobs = [*manifest.whole_jobs(manifest.read(results)), *jobs]
    steps = trace.trace(target, jobs)
    print(printable("\n".join(trace.lines(target, steps))))
    records.dump(Path(snakemake.params.json), trace.as_json(target, steps))
    log.info("the same as JSON, with all settings: %s", snakemake.params.json)
