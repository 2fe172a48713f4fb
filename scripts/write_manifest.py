"""Write the manifest of a finished study: what each file is, and what made it."""

from pathlib import Path

from _job import job

from stable_regions.audit import manifest, records

with job(snakemake) as log:
    results = Path(snakemake.output[0]).parent
    content = manifest.build(
        results,
        records.load_records(Path("logs")),
        list(snakemake.input),
        {"study": snakemake.wildcards.study, **snakemake.params.facts},
    )
    unexplained = [path for path, entry in content["files"].items() if entry["job"] is None]
    if unexplained:
        log.info(
            "%d files that no recorded job of this study made, among them %s",
            len(unexplained),
            unexplained[0],
        )
    records.dump(Path(snakemake.output[0]), content)
    log.info("%d files, %d jobs", len(content["files"]), len(content["jobs"]))
