"""Make a finished study's folder a Workflow Run RO-Crate: the code, and which job made what."""

from pathlib import Path

from _job import job

from stable_regions.audit import crate, manifest
from stable_regions.base.files import atomic, write_json

with job(snakemake):
    results = Path(snakemake.input[0]).parent
    with atomic(snakemake.output.code) as target:
        crate.copy_code(target)
    write_json(snakemake.output.metadata, crate.describe(results, manifest.read(results)))
