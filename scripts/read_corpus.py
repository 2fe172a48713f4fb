"""Read a corpus out of its package into a table of works."""

from pathlib import Path

from _job import job

from stable_regions.base.files import write_parquet
from stable_regions.sources.corpora import read_local, read_package
from stable_regions.sources.packages import check_sha256

with job(snakemake) as log:
    origin, entry, package = (
        Path(snakemake.params.origin),
        snakemake.params.entry,
        snakemake.params.package,
    )
    if entry["kind"] == "package":
        check_sha256(origin, package["sha256"])
        works = read_package(origin, entry["members"], entry["query"])
    else:
        works = read_local(origin)
    log.info("%d works, %.1f M characters", len(works), works["text"].str.len().sum() / 1e6)
    write_parquet(snakemake.output[0], works, {"corpus": entry, "package": package})
