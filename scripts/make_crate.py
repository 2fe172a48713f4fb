"""Make a finished study's folder a Provenance Run Crate: the code, and who made what from what."""

from pathlib import Path

from _job import job

from stable_regions.audit import crate, crate_pages, manifest
from stable_regions.base.files import atomic, write_json

with job(snakemake):
    results = Path(snakemake.input[0]).parent
    held = manifest.read(results)
    with atomic(snakemake.output.code) as target:
        crate.copy_code(target)
    with atomic(snakemake.output.readme) as target:
        target.write_text(crate_pages.readme(held), encoding="utf-8")
    metadata = crate.describe(results, held)
    with atomic(snakemake.output.preview) as target:
        target.write_text(crate_pages.preview(metadata), encoding="utf-8")
    write_json(snakemake.output.metadata, metadata)
