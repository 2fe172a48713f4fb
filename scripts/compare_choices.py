"""Interpolate between the same prompts with one choice changed at a time."""

from functools import partial
from pathlib import Path

import pandas as pd
from _job import job

from stable_regions import choices
from stable_regions.files import read_parquet, read_safetensors, write_parquet
from stable_regions.model import check_layer, load_model
from stable_regions.provenance import model_record

with job(snakemake) as log:
    params, compute, entry = snakemake.params, snakemake.params.compute, snakemake.params.entry
    prompts, drawn = read_parquet(snakemake.input.prompts)
    pairs = read_parquet(snakemake.input.pairs)[0].iloc[: params.pairs]
    [layer], steps = entry["layers"], entry["steps"]
    budget = compute["memory_budget_mb"] * 2**20
    load = partial(
        load_model,
        Path(snakemake.input.model),
        device=compute["device"],
        threads=compute["threads"],
    )
    model = load(dtype=params.dtype)
    check_layer(model, layer)
    record = model_record(model, snakemake.wildcards.ref, compute)
    tables = [
        choices.varied_table(
            model,
            prompts,
            pairs,
            read_safetensors(snakemake.input.activations)[0][f"resid.{layer}"],
            layer=layer,
            steps=steps,
            read_sites=entry["read_sites"],
            distances=entry["distances"],
            grids=entry["grids"],
            paths=entry["paths"],
            targets=entry["targets"],
            seed=entry["seed"],
            budget=budget,
        )
    ]
    measure = partial(choices.default_table, layer=layer, steps=steps, budget=budget)
    others = zip(
        entry["prompt_sets"],
        snakemake.input.other_prompts,
        snakemake.input.other_pairs,
        strict=True,
    )
    for name, *paths in others:
        log.info("corpus: %s", name)
        other, its_pairs = (read_parquet(path)[0] for path in paths)
        tables.append(measure(model, other, its_pairs.iloc[: params.pairs], ("corpus", name)))
    del model  # one copy of the weights at a time
    for dtype in entry["dtypes"]:
        log.info("dtype: %s", dtype)
        tables.append(measure(load(dtype=dtype), prompts, pairs, ("dtype", dtype)))
    facts = {
        **record,
        "study": snakemake.wildcards.study,
        "experiment": {"name": snakemake.wildcards.experiment, **entry},
        "prompts": drawn["prompts"],
        "alpha": "as many points from 0 to 1 as a distance has values",
        "units": "L2: residual stream or logits; cosine: 1 - cos; angle: radians; "
        "Jensen-Shannon: bits",
    }
    write_parquet(snakemake.output[0], pd.concat(tables, ignore_index=True), facts)
