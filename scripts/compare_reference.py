"""Compare a run with the reference in the repository, in one line."""

from pathlib import Path

from _job import job

from stable_regions.audit.reference import compare, digest, nearest
from stable_regions.base.files import read_json, write_json

with job(snakemake) as log:
    current = digest(Path(snakemake.input[0]).parent)
    references = [read_json(path) for path in snakemake.params.references]
    comparison = compare(nearest(references, current), current)
    write_json(snakemake.output[0], comparison)
    log.info("against the reference: %s", comparison["line"])
