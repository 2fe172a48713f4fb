"""The loss curves of the suite in one table."""

from pathlib import Path

import pandas as pd
from _job import job

from stable_regions.base.files import write_csv

with job(snakemake):
    curves = [
        pd.read_csv(Path(folder, "loss.csv")).assign(model=model)
        for model, folder in zip(snakemake.params.models, snakemake.input, strict=True)
    ]
    table = pd.concat(curves, ignore_index=True)
    write_csv(snakemake.output[0], table[["model", *table.columns.drop("model")]])
