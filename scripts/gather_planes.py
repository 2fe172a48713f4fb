"""Put the shards of the planes of one model together."""

from _job import job

from stable_regions.base.files import read_safetensors, write_arrays
from stable_regions.experiments.plane.tables import gathered

with job(snakemake):
    shards = [read_safetensors(path, framework="numpy") for path in snakemake.input]
    write_arrays(snakemake.output[0], *gathered(shards))
