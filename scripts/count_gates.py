"""Count the gates that change sign between the prompts of one shard of pairs."""

from pathlib import Path

from _job import job

from stable_regions.files import read_parquet, read_safetensors, write_parquet
from stable_regions.measures import alphas
from stable_regions.model import check_layer, load_model
from stable_regions.polytopes import gate_table
from stable_regions.provenance import model_record

with job(snakemake) as log:
    params, compute, entry = snakemake.params, snakemake.params.compute, snakemake.params.entry
    prompts, drawn = read_parquet(snakemake.input.prompts)
    pairs, _ = read_parquet(snakemake.input.pairs)
    first, end = params.rows
    model = load_model(
        Path(snakemake.input.model),
        dtype=params.dtype,
        device=compute["device"],
        threads=compute["threads"],
    )
    for layer in entry["layers"]:
        check_layer(model, layer)
    table = gate_table(
        model,
        prompts,
        pairs.iloc[first:end],
        read_safetensors(snakemake.input.activations)[0],
        layers=entry["layers"],
        steps=entry["steps"],
        budget=compute["memory_budget_mb"] * 2**20,
    )
    facts = {
        **model_record(model, snakemake.wildcards.ref, compute),
        "layers": model.n_layers,
        "gated": model.gated,
        "gates": model.bridge.cfg.d_mlp,
        "study": snakemake.wildcards.study,
        "experiment": {"name": snakemake.wildcards.experiment, **entry},
        "prompts": drawn["prompts"],
        "alpha": alphas(entry["steps"]).tolist(),
        "units": "gates; L2 distance in units of the residual stream at the read site",
    }
    write_parquet(snakemake.output[0], table, facts)
