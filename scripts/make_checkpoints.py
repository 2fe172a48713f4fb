"""Make the model folders of a model's checkpoints: weights, tokenizer, and what each is."""

import shutil
from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, write_json
from stable_regions.models.facts import model_row
from stable_regions.sources.packages import describe

with job(snakemake):
    params, output = snakemake.params, snakemake.output
    source = params.entry["source"]
    for ref, folder, facts in zip(params.refs, output.folders, output.facts, strict=True):
        revision = ref.partition("@")[2]
        step = int(revision.removeprefix("step"))
        with atomic(folder) as target:
            shutil.copytree(Path(snakemake.input.training, revision), target)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(Path(snakemake.input.tokenizer, name), target / name)
            describe(
                target,
                source=source,
                family=params.entry["family"],
                licence=params.entry["licence"],
                revision=revision,
                step=step,
                tokens=step * source["batch"] * source["context"],
            )
        write_json(facts, model_row(ref, Path(folder)))
