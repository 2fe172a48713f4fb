"""Draw one figure from its tables: CSV of what is drawn, PDF, PNG."""

from importlib import import_module

from _job import job

from stable_regions.base.files import read_csv
from stable_regions.figures import style

with job(snakemake):
    module = import_module(snakemake.params.module)
    data, figure = module.draw(*map(read_csv, snakemake.input), **snakemake.params.settings)
    style.save(figure, data, *snakemake.output)
