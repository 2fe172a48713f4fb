"""Every point of every path of a small experiment, as one table."""

from _job import job

from stable_regions.base.files import read_parquet, write_csv
from stable_regions.experiments.interpolation import tables as summaries

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    write_csv(snakemake.output[0], summaries.paths(raw))
