"""Tables of choices: max slope and its change against the default; errors of numbers of steps."""

from _job import job

from stable_regions.base.files import read_parquet, write_csv
from stable_regions.experiments.choices.tables import effects, steps

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    params = snakemake.params
    write_csv(snakemake.output.effects, effects(raw, resamples=params.resamples, seed=params.seed))
    write_csv(snakemake.output.steps, steps(raw))
