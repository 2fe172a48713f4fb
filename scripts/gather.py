"""Gather the shards of one experiment on one model, by its kind's `gather`."""

from importlib import import_module

from _job import job

from stable_regions.base.files import read_parquet
from stable_regions.experiments.raw import read_raw, write_raw

with job(snakemake):
    prompts, _ = read_parquet(snakemake.input.prompts)
    shards = [read_raw(path) for path in snakemake.input.shards]
    gathered = import_module(snakemake.params.module).gather(shards, prompts)
    write_raw(snakemake.output[0], *gathered)
