"""Put the blocks of a pairwise experiment on one model together."""

from _job import job

from stable_regions.base.files import read_parquet, read_safetensors, write_arrays
from stable_regions.experiments.pairwise.blocks import gathered

with job(snakemake):
    prompts, _ = read_parquet(snakemake.input.prompts)
    blocks = [read_safetensors(path, framework="numpy") for path in snakemake.input.blocks]
    write_arrays(
        snakemake.output[0], gathered([arrays for arrays, _ in blocks], prompts), blocks[0][1]
    )
