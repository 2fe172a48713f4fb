"""Write the manifest of a finished study: what each file is, and what made it."""

from pathlib import Path

from _job import job

from stable_regions.audit import manifest, records

with job(snakemake) as log:
    results = Path(snakemake.output[0]).parent
    found = manifest.build(
        results,
        records.load_records(Path("logs")),
        list(snakemake.input),
        {"study": snakemake.wildcards.study, **snakemake.params.facts},
    )
    apart = [path for path, held in found["files"].items() if held["job"] is None]
    if apart:
        log.info(
            "%d files that no recorded job of this study made, among them %s", len(apart), apart[0]
        )
    records.dump(Path(snakemake.output[0]), found)
    log.info("%d files, %d jobs", len(found["files"]), len(found["jobs"]))
