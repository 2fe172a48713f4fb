"""Put the shards of one experiment on one model together."""

import pandas as pd
from _job import job

from stable_regions.base.files import read_parquet, write_parquet

with job(snakemake):
    shards = [read_parquet(path) for path in snakemake.input]
    table = pd.concat([part for part, _ in shards], ignore_index=True)
    write_parquet(snakemake.output[0], table, shards[0][1])
