"""Fetch the folder of a model from the network, or its configuration and tokenizer alone."""

from importlib import import_module
from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, write_json
from stable_regions.models.facts import model_row
from stable_regions.sources.packages import describe

with job(snakemake):
    params, output, entry = snakemake.params, snakemake.output, snakemake.params.entry
    facts = {key: entry[key] for key in ("source", "family", "licence")}
    with atomic(output.folder) as folder:
        folder.mkdir()
        source = import_module(params.module).Source.model_validate(entry["source"])
        facts |= source.fetch(
            folder,
            params.revision,
            weights=params.weights,
            private_cache=Path(params.private_cache) if params.private_cache else None,
        )
        describe(folder, **facts)
        source.check_fetched(folder)
        row = model_row(params.ref, folder) if params.weights else None
    if row is not None:
        write_json(output.facts, row)
