"""Collect the numbers of the paper into one file."""

import pandas as pd
from _job import job

from stable_regions.files import read_json, write_json
from stable_regions.numbers import collect, constants

with job(snakemake):
    params = snakemake.params
    tables = {
        name: (pd.read_csv(path), keys)
        for (name, keys), path in zip(params.tables.items(), snakemake.input.tables, strict=True)
    }
    facts = {
        "study": {"name": snakemake.wildcards.study, "title": params.title},
        "experiments": params.experiments,
        "prompts": params.prompts,
        "trained_on": params.trained_on,
        "bos": params.bos,
        "compute": params.compute,
        "constants": constants(),
        "figures": params.figures,
        "claims": read_json(snakemake.input.claims),
        "checks": [read_json(path) for path in snakemake.input.checks],
    }
    write_json(snakemake.output[0], collect(tables, pd.read_csv(snakemake.input.models), facts))
