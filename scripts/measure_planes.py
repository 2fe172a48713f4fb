"""Measure the output over planes through the activations of three prompts."""

from pathlib import Path

from _job import job

from stable_regions.files import read_parquet, read_safetensors, write_safetensors
from stable_regions.model import check_layer, load_model
from stable_regions.planes import grid_axis, plane_tensors
from stable_regions.prompts import load_tokenizer
from stable_regions.provenance import model_record

with job(snakemake) as log:
    params, compute, entry = snakemake.params, snakemake.params.compute, snakemake.params.entry
    folder = Path(snakemake.input.model)
    prompts, drawn = read_parquet(snakemake.input.prompts)
    model = load_model(
        folder, dtype=params.dtype, device=compute["device"], threads=compute["threads"]
    )
    for layer in entry["layers"]:
        check_layer(model, layer)
    found = plane_tensors(
        model,
        prompts,
        read_safetensors(snakemake.input.activations)[0],
        triples=entry["triples"],
        layers=entry["layers"],
        axis=grid_axis(entry["resolution"], entry["extent"]),
        budget=compute["memory_budget_mb"] * 2**20,
    )
    texts = list(prompts["text"][: 3 * entry["triples"]])
    top = found["top_token"].unique().tolist()
    tokenizer = load_tokenizer(folder)
    facts = {
        **model_record(model, snakemake.wildcards.ref, compute),
        "study": snakemake.wildcards.study,
        "experiment": {"name": snakemake.wildcards.experiment, **entry},
        "prompts": drawn["prompts"],
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
    write_safetensors(snakemake.output[0], found, facts)
