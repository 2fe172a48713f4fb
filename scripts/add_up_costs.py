"""Add up what the steps of this run took."""

from _job import job

from stable_regions.costs import cost_table
from stable_regions.files import write_csv

with job(snakemake):
    write_csv(snakemake.output[0], cost_table(snakemake.params.timed))
