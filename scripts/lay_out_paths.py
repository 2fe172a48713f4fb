"""Every point of every path of a small experiment, as one table."""

from _job import job

from stable_regions import summaries
from stable_regions.files import read_parquet, write_csv

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    write_csv(snakemake.output[0], summaries.paths(raw))
