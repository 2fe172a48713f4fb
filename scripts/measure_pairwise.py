"""Measure one block of rows of the distances between all prompts of a set."""

from _job import job
from _models import models

from stable_regions.audit.provenance import experiment_record
from stable_regions.base.files import read_parquet, write_arrays
from stable_regions.experiments.pairwise.blocks import row_blocks
from stable_regions.experiments.pairwise.measure import fine_grids, pairwise_arrays

with job(snakemake) as log:
    params, entry = snakemake.params, snakemake.params.entry
    prompts, drawn = read_parquet(snakemake.input.prompts)
    rows = row_blocks(prompts, entry["blocks"])[params.part]
    pairs = read_parquet(snakemake.input.pairs)[0]["prompt_a"].between(rows[0], rows[1] - 1).sum()
    log.info(
        "rows %d to %d of %d: %d pairs of %d points between their ends at each of %d layers",
        rows[0], rows[1] - 1, len(prompts), pairs, entry["steps"] - 2, len(entry["layers"]),
    )  # fmt: skip
    for ref, model, activations, output in models(snakemake):
        found = pairwise_arrays(
            model,
            prompts,
            activations,
            rows=rows,
            layers=entry["layers"],
            geometry=entry["geometry"],
            steps=entry["steps"],
            fine_pairs=entry["fine_pairs"],
            budget=params.compute["memory_budget_mb"] * 2**20,
        )
        facts = experiment_record(model, ref, params, drawn) | {
            "dimensions": {
                "directed_*, input": "layer context prompt prompt",
                "distance_*, step_*": "layer context pair step; pairs are the upper triangle's",
                "geometry.N": "context prompt prompt",
                "fine_pair": "pairs, counted through the contexts, measured on finer grids too",
                "fine_*": "layer pair grid",
                "top_token": "context x prompt",
            },
            "fine_grids": fine_grids(entry["steps"]),
            "units": "L2 distance in units of the residual stream at the read site",
        }
        write_arrays(output, found, facts)
