"""Train one model of the suite, resuming an interrupted run."""

from pathlib import Path

from _job import job

from stable_regions.base.files import read_safetensors
from stable_regions.training.train import TrainingSettings, train

with job(snakemake):
    source = dict(snakemake.params.source)
    source["checkpoints"] = tuple(source["checkpoints"])
    for key in ("kind", "tokenizer"):
        del source[key]
    tensors, facts = read_safetensors(Path(snakemake.input[0], "tokens.safetensors"))
    settings = TrainingSettings(**source)
    train(
        tensors["tokens"].long().numpy(),
        facts["vocabulary"],
        settings,
        snakemake.output[0],
        snakemake.params.threads,
        snakemake.params.code,
    )
