"""The table of deviations from the original, with their effects where measured."""

from _job import job

from stable_regions.base.files import read_csv, write_csv
from stable_regions.paper.deviations import Deviation, tabulate

with job(snakemake):
    params = snakemake.params
    tables = dict(zip(params.tables, map(read_csv, snakemake.input), strict=True))
    entries = [Deviation.model_validate(entry) for entry in params.deviations.values()]
    write_csv(snakemake.output[0], tabulate(entries, tables))
