"""The table of choices: max slope and its change against the default."""

from _job import job

from stable_regions.effects import effects
from stable_regions.files import read_parquet, write_csv

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    params = snakemake.params
    write_csv(snakemake.output[0], effects(raw, resamples=params.resamples, seed=params.seed))
