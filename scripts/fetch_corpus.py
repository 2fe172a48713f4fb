"""Read a corpus out of a data set on the hub into a table of works."""

from _job import job

from stable_regions.base.files import write_parquet
from stable_regions.sources.hub import read_texts

with job(snakemake) as log:
    entry = snakemake.params.entry
    works = read_texts(
        entry["repository"],
        entry["commit"] or entry["revision"],
        files=entry["files"],
        column=entry["column"],
        works=entry["works"],
        draw=entry["draw"],
        seed=entry["seed"],
    )
    log.info("%d works, %.1f M characters", len(works), works["text"].str.len().sum() / 1e6)
    write_parquet(snakemake.output[0], works, {"corpus": entry})
