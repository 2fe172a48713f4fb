"""Check a model once, then cache its activations on a prompt set."""

from dataclasses import asdict
from pathlib import Path

import torch
from _job import job

from stable_regions import engine
from stable_regions.activations import cache
from stable_regions.errors import UserError
from stable_regions.files import read_parquet, write_json, write_safetensors
from stable_regions.model import check_layer, load_model
from stable_regions.prompts import by_length
from stable_regions.provenance import model_record

with job(snakemake) as log:
    params, compute = snakemake.params, snakemake.params.compute
    prompts, _ = read_parquet(snakemake.input.prompts)
    tokens = list(prompts["tokens"])
    folder = Path(snakemake.input.model)
    model = load_model(
        folder, dtype=params.dtype, device=compute["device"], threads=compute["threads"]
    )
    for layer in params.layers:
        check_layer(model, layer)
    vectors = len(params.layers) + 2
    log.info(
        "%d prompts, %d vectors of %d numbers each: %.1f MB on disk, "
        "at most %d MB of memory beside the weights",
        len(tokens),
        vectors,
        model.d_model,
        len(tokens) * vectors * model.d_model * model.dtype.itemsize / 2**20,
        compute["memory_budget_mb"],
    )
    budget = compute["memory_budget_mb"] * 2**20
    sample = torch.from_numpy(by_length(tokens)[-1][1][:4])
    check = engine.check(model, sample, params.layers[0], budget=budget)
    log.info("load check: %s", check.verdict)
    if check.verdict != "passed":
        raise UserError(f"{snakemake.wildcards.ref}: the load check failed: {check.verdict}")
    found = cache(model, tokens, params.layers, budget=budget)
    facts = model_record(model, snakemake.wildcards.ref, compute)
    write_safetensors(snakemake.output.activations, found, facts)
    write_json(snakemake.output.check, {**asdict(check), **facts})
