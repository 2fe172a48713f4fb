"""Make the model folders of a model's checkpoints: weights, tokenizer, and what each is."""

import shutil
from pathlib import Path

from _job import job

from stable_regions.files import atomic
from stable_regions.sources import describe

with job(snakemake):
    entry = snakemake.params.entry
    source = entry["source"]
    for ref, folder in zip(snakemake.params.refs, snakemake.output, strict=True):
        revision = ref.partition("@")[2]
        step = int(revision.removeprefix("step"))
        with atomic(folder) as made:
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
