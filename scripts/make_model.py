"""Make a model folder (config, safetensors, tokenizer, source.json) out of the model's source."""

from importlib import import_module
from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, write_json
from stable_regions.models.facts import model_row
from stable_regions.sources.packages import describe

with job(snakemake):
    import torch

    torch.set_num_threads(snakemake.threads)
    params, entry = snakemake.params, snakemake.params.entry
    facts = {key: entry[key] for key in ("source", "family", "licence")}
    with atomic(snakemake.output.folder) as folder:
        folder.mkdir()
        source = import_module(params.module).Source.model_validate(entry["source"])
        describe(folder, **facts, **source.make(folder, Path(params.origin), params.package))
        row = model_row(params.ref, folder)
    write_json(snakemake.output.facts, row)
