"""Cluster the prompts of one experiment on every distance between them, model by model."""

import pandas as pd
from _job import job

from stable_regions.base.files import read_parquet, read_safetensors, write_parquet
from stable_regions.experiments.pairwise import tables

with job(snakemake) as log:
    entry = snakemake.params.entry
    parts: dict[str, list[pd.DataFrame]] = {}
    for raw, path in zip(snakemake.input.raw, snakemake.input.prompts, strict=True):
        arrays, facts = read_safetensors(raw, framework="numpy")
        log.info("%s", facts["model"])
        prompts = tables.Prompts.of(read_parquet(path)[0], arrays["top_token"], entry["labels"])
        tables_of_model = tables.clusters(
            tables.matrices(arrays, facts["experiment"]["layers"]),
            prompts,
            min_cluster_size=entry["min_cluster_size"],
            min_samples=entry["min_samples"],
        )
        for name, table in tables_of_model.items():
            table.insert(0, "model", facts["model"])
            parts.setdefault(name, []).append(table)
    for name, some in parts.items():
        table = pd.concat(some, ignore_index=True)
        write_parquet(getattr(snakemake.output, name), table, {"clusters": entry})
