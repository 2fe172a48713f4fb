"""Table 1: the models of the study."""

from _job import job

from stable_regions.base.files import read_json, write_csv
from stable_regions.models.facts import model_table

with job(snakemake):
    write_csv(snakemake.output[0], model_table([read_json(path) for path in snakemake.input]))
