"""Collect the numbers of the paper into one file."""

from _job import job

from stable_regions.base.files import read_csv, read_json, write_json
from stable_regions.paper.findings import findings, series_of
from stable_regions.paper.numbers import collect, constants

with job(snakemake):
    params, inputs = snakemake.params, snakemake.input
    tables = {
        name: (read_csv(path), keys)
        for (name, keys), path in zip(params.tables.items(), inputs.tables, strict=True)
    }
    ledger, models = read_json(inputs.claims), read_csv(inputs.models)
    all_tables = {name: table for name, (table, _) in tables.items()}
    all_tables |= {
        name: read_csv(path) for name, path in zip(params.pairs, inputs.pairs, strict=True)
    }
    facts = {
        "study": {"name": snakemake.wildcards.study, "title": params.title},
        "experiments": params.experiments,
        "prompts": params.prompts,
        "trained_on": params.trained_on,
        "like": params.like,
        "bos": params.bos,
        "compute": params.compute,
        "constants": constants(),
        "figures": params.figures,
        "figure_map": params.figure_map,
        "claims": ledger,
        "series": series_of(all_tables, models),
        "findings": findings(all_tables, ledger, models, **params.drawn),
        "checks": [
            {key: value for key, value in read_json(path).items() if key != "trial"}
            for path in inputs.checks
        ],
    }
    write_json(snakemake.output[0], collect(tables, models, facts))
