"""Score the distances between prompts, and their clusters, against kinds of prompts."""

import pandas as pd
from _job import job

from stable_regions.base.files import read_parquet, read_safetensors, write_csv
from stable_regions.experiments.pairwise import tables

with job(snakemake) as log:
    entry, seed = snakemake.params.entry, snakemake.params.seed
    sizes = sorted({entry["min_cluster_size"], *entry["other_sizes"]})
    raw_clusters = {name: read_parquet(snakemake.input[name])[0] for name in ("labels", "trees")}
    persistence = read_parquet(snakemake.input.persistence)[0]
    parts: dict[str, list[pd.DataFrame]] = {}
    for raw, path in zip(snakemake.input.raw, snakemake.input.prompts, strict=True):
        arrays, facts = read_safetensors(raw, framework="numpy")
        model, layers = facts["model"], facts["experiment"]["layers"]
        log.info("%s", model)
        prompts = tables.Prompts.of(read_parquet(path)[0], arrays["top_token"], entry["labels"])
        matrices = tables.matrices(arrays, layers)
        labels, trees = (some[some["model"] == model] for some in raw_clusters.values())
        tables_of_model = {
            "scores": tables.scores(matrices, labels, prompts, draws=entry["draws"], seed=seed),
            "comparisons": tables.comparisons(
                matrices, labels, prompts, draws=entry["draws"], seed=seed
            ),
            "confounded": tables.confounded(matrices, prompts, seed=seed),
            "sensitivity": tables.sensitivity(
                matrices, prompts, min_cluster_sizes=sizes, min_samples=entry["min_samples"]
            ),
            "states": tables.states(
                arrays["states"],
                labels,
                min_cluster_size=entry["min_cluster_size"],
                min_samples=entry["min_samples"],
                draws=entry["draws"],
                seed=seed,
            ),
            "grids": tables.grids(arrays, layers, facts["fine_grids"]),
        }
        if not parts:  # what is drawn is of the first model, layer and context
            tables_of_model |= {
                "map": tables.maps(matrices, labels, prompts),
                "entries": tables.entries(matrices),
                "trees": tables.first_trees(trees),
            }
        for name, table in tables_of_model.items():
            parts.setdefault(name, []).append(
                table if "model" in table else table.assign(model=model)[["model", *table]]
            )
    parts["persistence"] = [persistence]
    for name, some in parts.items():
        write_csv(getattr(snakemake.output, name), pd.concat(some, ignore_index=True))
