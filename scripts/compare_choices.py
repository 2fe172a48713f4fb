"""Interpolate between the same prompts with one choice changed at a time."""

from functools import partial
from pathlib import Path

import pandas as pd
from _job import job
from _models import models, placing

from stable_regions.audit.provenance import experiment_record
from stable_regions.base.files import read_object, read_parquet, write_parquet
from stable_regions.experiments.choices import measure as choices
from stable_regions.measures.distances import DISTANCES, L2
from stable_regions.models.check import check_again
from stable_regions.models.load import load_model

with job(snakemake) as log:
    params, compute, entry = snakemake.params, snakemake.params.compute, snakemake.params.entry
    prompts, drawn = read_parquet(snakemake.input.prompts)
    _, count = params.part
    pairs = read_parquet(snakemake.input.pairs)[0].iloc[:count]
    [layer], steps = entry["layers"], entry["steps"]
    budget = compute["memory_budget_mb"] * 2**20
    measure = partial(choices.default_table, layer=layer, steps=steps, budget=budget)
    for (ref, model, activations, output), folder, checked in zip(
        models(snakemake, engine="auto"),
        snakemake.input.models,
        snakemake.input.checks,
        strict=True,
    ):
        facts = experiment_record(model, ref, params, drawn) | {
            "units": "; ".join(f"{one.label}: {one.unit}" for one in (L2, *DISTANCES.values())),
        }
        tables = [
            choices.varied_table(
                model,
                prompts,
                pairs,
                activations[f"resid.{layer}"],
                layer=layer,
                steps=steps,
                read_sites=entry["read_sites"],
                distances=entry["distances"],
                grids=entry["grids"],
                adaptive=entry["adaptive"],
                paths=entry["paths"],
                targets=entry["targets"],
                seed=entry["seed"],
                budget=budget,
            )
        ]
        others = zip(
            entry["prompt_sets"],
            snakemake.input.other_prompts,
            snakemake.input.other_pairs,
            strict=True,
        )
        for name, *paths in others:
            log.info("corpus: %s", name)
            other, its_pairs = (read_parquet(path)[0] for path in paths)
            tables.append(measure(model, other, its_pairs.iloc[:count], ("corpus", name)))
        for dtype in entry["dtypes"]:
            log.info("dtype: %s", dtype)
            model = load_model(Path(folder), dtype=dtype, **placing(compute))
            check_again(model, read_object(checked))
            tables.append(measure(model, prompts, pairs, ("dtype", dtype)))
        write_parquet(output, pd.concat(tables, ignore_index=True), facts)
