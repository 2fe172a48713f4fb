"""Measure the output over planes through the activations of three prompts."""

from pathlib import Path

from _job import job
from _models import models

from stable_regions.audit.provenance import experiment_record
from stable_regions.base.files import read_parquet, write_safetensors
from stable_regions.experiments.plane.measure import grid_axis, plane_tensors
from stable_regions.prompts.draw import load_tokenizer

with job(snakemake):
    params, entry = snakemake.params, snakemake.params.entry
    prompts, drawn = read_parquet(snakemake.input.prompts)
    first, end = params.part
    texts = list(prompts["text"][3 * first : 3 * end])
    tokenizer = load_tokenizer(Path(snakemake.input.models[0]))
    for ref, model, activations, output in models(snakemake):
        found = plane_tensors(
            model,
            prompts,
            activations,
            triples=(first, end),
            layers=entry["layers"],
            axis=grid_axis(entry["resolution"], entry["extent"]),
            budget=params.compute["memory_budget_mb"] * 2**20,
        )
        top = found["top_token"].unique().tolist()
        facts = experiment_record(model, ref, params, drawn) | {
            "texts": [texts[i : i + 3] for i in range(0, len(texts), 3)],
            "token_texts": {t: tokenizer.decode([t], skip_special_tokens=False) for t in top},
            "dimensions": {
                "distance_post_norm, distance_pre_norm, top_token": "layer triple context b a",
                "tokens": "triple prompt position",
                "axis": "values of a, and of b",
                "place_c, length_along, length_across": "layer triple",
            },
            "units": "L2 distance in units of the residual stream at the read site, not normalised",
        }
        write_safetensors(output, found, facts)
