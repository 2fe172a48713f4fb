"""Compare a run with the reference in the repository, in one line."""

from pathlib import Path

from _job import job

from stable_regions.audit.reference import compare, digest
from stable_regions.base.files import read_json, write_json

with job(snakemake) as log:
    comparison = compare(
        read_json(snakemake.params.reference), digest(Path(snakemake.input[0]).parent)
    )
    write_json(snakemake.output[0], comparison)
    log.info("against the reference: %s", comparison["line"])
