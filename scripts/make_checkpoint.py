"""Make the model folder of one checkpoint: its weights, its tokenizer, and what it is."""

import shutil
from pathlib import Path

from _job import job

from stable_regions.files import atomic, write_json
from stable_regions.model_facts import model_row
from stable_regions.sources import describe

with job(snakemake):
    entry, revision = snakemake.params.entry, snakemake.wildcards.revision
    step = int(revision.removeprefix("step"))
    source = entry["source"]
    with atomic(snakemake.output.folder) as made:
        shutil.copytree(Path(snakemake.input.training, revision), made)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(Path(snakemake.input.tokenizer, name), made / name)
        describe(
            made,
            source=source,
            family=entry["family"],
            licence=entry["licence"],
            revision=revision,
            step=step,
            tokens=step * source["batch"] * source["context"],
        )
    ref = f"{snakemake.wildcards.model}@{revision}"
    write_json(snakemake.output.facts, model_row(ref, Path(snakemake.output.folder)))
