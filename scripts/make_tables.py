"""Make tables from an experiment's raw outputs, by its kind's tables module."""

from importlib import import_module

from _job import job

from stable_regions.base.files import read_parquet, write_csv
from stable_regions.experiments.raw import read_raw

with job(snakemake):
    params = snakemake.params
    raw = [read_raw(path) for path in snakemake.input.raw]
    prompts = [read_parquet(path)[0] for path in snakemake.input.prompts]
    tabulate = getattr(import_module(snakemake.params.module), params.function)
    tables = tabulate(raw, prompts, resamples=params.resamples, seed=params.seed)
    for what, path in zip(params.what, snakemake.output, strict=True):
        write_csv(path, tables[what])
