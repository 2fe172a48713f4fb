"""Table 1: the models of the study."""

from pathlib import Path

from _job import job

from stable_regions.files import write_csv
from stable_regions.model_facts import model_table

with job(snakemake):
    names = snakemake.params.models
    folders = dict(zip(names, map(Path, snakemake.input), strict=True))
    write_csv(snakemake.output[0], model_table(folders))
