"""Check a model once, then cache its activations on a prompt set."""

from dataclasses import asdict
from pathlib import Path

import torch
from _job import job
from _models import placing

from stable_regions.audit.provenance import model_record
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_object, read_parquet, write_json, write_safetensors
from stable_regions.experiments.activations import cache
from stable_regions.models.check import check
from stable_regions.models.load import load_model
from stable_regions.models.model import check_layer
from stable_regions.models.shapes import Shape, check_shape
from stable_regions.prompts.draw import by_length, check_tokens

with job(snakemake) as log:
    params, compute, output = snakemake.params, snakemake.params.compute, snakemake.output
    prompts, _ = read_parquet(snakemake.input.prompts)
    tokens = list(prompts["tokens"])
    budget = compute["memory_budget_mb"] * 2**20
    for ref, folder, write_layers, clean_layers, activations, check_path in zip(
        params.refs,
        snakemake.input.models,
        params.write_layers,
        params.clean_layers,
        output.activations,
        output.checks,
        strict=True,
    ):
        log.info("%s", ref)
        check_tokens(tokens, Path(snakemake.input.tokenizer), Path(folder))
        if params.shape is not None:
            name = ref.partition("@")[0]
            check_shape(
                Shape(**params.shape), read_object(f"{folder}/config.json"), f"models.{name}.shape"
            )
        model = load_model(Path(folder), dtype=params.dtype, **placing(compute))
        for layer in write_layers:
            check_layer(model, layer)
        layers = [*write_layers, *clean_layers]
        vectors = len(layers) + 2
        log.info(
            "%d prompts, %d vectors of %d numbers each: %.1f MB on disk, "
            "at most %d MB of memory beside the weights",
            len(tokens),
            vectors,
            model.d_model,
            len(tokens) * vectors * model.d_model * model.dtype.itemsize / 2**20,
            compute["memory_budget_mb"],
        )
        sample = torch.from_numpy(by_length(tokens)[-1][1][:4])
        result = check(model, sample, write_layers[0], budget=budget)
        log.info("load check: %s", result.verdict)
        if max(result.token.values()) > result.tolerance:
            log.info("later layers read the token again: F_p is no function of the stream alone")
        if result.verdict != "passed":
            raise UserError(f"{ref}: the load check failed: {result.verdict}")
        vectors_by_site = cache(model, tokens, layers, budget=budget)
        facts = model_record(model, ref, compute)
        write_safetensors(activations, vectors_by_site, facts)
        write_json(check_path, {**asdict(result), **facts})
