"""Keep a digest of a finished study in the repository, to compare later runs with."""

from pathlib import Path

from _job import job

from stable_regions.audit.reference import digest, place_of, write

with job(snakemake) as log:
    result = digest(Path(snakemake.params.results))
    place = place_of(Path(snakemake.params.reference), result)
    write(place, result)
    log.info(
        "%s: %d raw outputs and tables, %d estimates, %d claims", place,
        len(result["data"]), len(result["estimates"]), len(result["claims"]),
    )  # fmt: skip
