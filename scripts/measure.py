"""Measure models in an experiment, by its kind's `measure`."""

from functools import partial
from importlib import import_module
from pathlib import Path

from _job import job
from _models import load_again, models

from stable_regions.audit.provenance import experiment_record
from stable_regions.base.files import read_object, read_parquet
from stable_regions.experiments.measuring import Measuring
from stable_regions.experiments.raw import write_raw

with job(snakemake):
    params, inputs = snakemake.params, snakemake.input
    prompts, prompt_facts = read_parquet(inputs.prompts)
    other_paths = zip(
        params.others,
        inputs.get("other_prompts", []),
        inputs.get("other_pairs", []),
        strict=True,
    )
    others = [(name, *(read_parquet(path)[0] for path in some)) for name, *some in other_paths]
    pairs = read_parquet(inputs.pairs)[0]
    measure = import_module(snakemake.params.module).measure
    loaded = models(snakemake, params.engine)
    for (ref, model, activations, output), folder, check_path in zip(
        loaded, map(Path, inputs.models), inputs.checks, strict=True
    ):
        data, facts = measure(
            Measuring(
                model=model,
                folder=folder,
                activations=activations,
                prompts=prompts,
                pairs=pairs,
                others=others,
                entry=params.entry,
                part=params.part,
                budget=params.compute["memory_budget_mb"] * 2**20,
                load=partial(load_again, folder, read_object(check_path), params.compute),
            )
        )
        write_raw(output, data, experiment_record(model, ref, params, prompt_facts) | facts)
