"""Keep a digest of a finished study in the repository, to hold later runs against."""

from pathlib import Path

from _job import job

from stable_regions.audit.reference import digest, write

with job(snakemake) as log:
    kept_digest = digest(Path(snakemake.params.results))
    write(Path(snakemake.params.reference), kept_digest)
    log.info(
        "%s: %d raw outputs and tables, %d estimates, %d claims",
        snakemake.params.reference, len(kept_digest["data"]), len(kept_digest["estimates"]), len(kept_digest["claims"]),
    )  # fmt: skip
