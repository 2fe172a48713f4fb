"""Read a corpus out of its package into a table of works."""

from pathlib import Path

from _job import job

from stable_regions.corpora import read_corpus
from stable_regions.files import write_parquet
from stable_regions.sources import check_file

with job(snakemake) as log:
    package, entry = Path(snakemake.input[0]), snakemake.params.entry
    check_file(package, snakemake.params.package["sha256"])
    works = read_corpus(package, entry["members"], entry["query"])
    log.info("%d works, %.1f M characters", len(works), works["text"].str.len().sum() / 1e6)
    facts = {"corpus": entry, "package": snakemake.params.package}
    write_parquet(snakemake.output[0], works, facts)
