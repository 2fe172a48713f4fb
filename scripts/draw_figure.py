"""Draw one figure from its tables: CSV of what is drawn, PDF, PNG."""

from importlib import import_module

import pandas as pd
from _job import job

from stable_regions.figures import style

with job(snakemake):
    module = import_module(snakemake.params.module)
    data, figure = module.draw(*(pd.read_csv(path) for path in snakemake.input))
    style.save(figure, data, *snakemake.output)
