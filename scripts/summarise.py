"""Tables of an interpolation experiment: sharpness, median curves, and one row a pair."""

from _job import job

from stable_regions.base.files import read_parquet, write_csv
from stable_regions.experiments.interpolation import tables as summaries

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    params = snakemake.params
    table = summaries.sharpness(raw, resamples=params.resamples, seed=params.seed)
    write_csv(snakemake.output.sharpness, table)
    write_csv(snakemake.output.curves, summaries.curves(raw))
    write_csv(snakemake.output.pairs, summaries.pairs(raw))
