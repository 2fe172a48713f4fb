"""Table 1: the models of the study."""

from _job import job

from stable_regions.base.files import read_csv, read_json, write_csv
from stable_regions.models.facts import model_table, with_losses

with job(snakemake):
    table = model_table([read_json(path) for path in snakemake.input.facts])
    for path in snakemake.input.losses:
        table = with_losses(table, read_csv(path))
    write_csv(snakemake.output[0], table)
