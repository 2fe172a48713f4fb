"""Count the gates that change sign between the prompts of one shard of pairs."""

from _job import job
from _models import models

from stable_regions.audit.provenance import experiment_record
from stable_regions.base.files import read_parquet, write_parquet
from stable_regions.experiments.polytopes.measure import gate_table
from stable_regions.measures.paths import alphas

with job(snakemake):
    params, entry = snakemake.params, snakemake.params.entry
    prompts, drawn = read_parquet(snakemake.input.prompts)
    first, end = params.part
    pairs = read_parquet(snakemake.input.pairs)[0].iloc[first:end]
    for ref, model, activations, output in models(snakemake):
        table = gate_table(
            model,
            prompts,
            pairs,
            activations,
            layers=entry["layers"],
            steps=entry["steps"],
            budget=params.compute["memory_budget_mb"] * 2**20,
        )
        facts = experiment_record(model, ref, params, drawn) | {
            "layers": model.n_layers,
            "gated": model.gated,
            "gates": model.gates[-1].width,
            "alpha": alphas(entry["steps"]).tolist(),
            "units": "gates; L2 distance in units of the residual stream at the read site",
        }
        write_parquet(output, table, facts)
