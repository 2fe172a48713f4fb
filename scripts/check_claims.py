"""Check claims: a verdict each, as JSON and, where a table is asked for, as CSV."""

from typing import Any

import pandas as pd
from _job import job

from stable_regions.base.files import read_csv, read_parquet, write_csv, write_json
from stable_regions.paper import claims
from stable_regions.paper.ledger import Claim

with job(snakemake):
    params, inputs = snakemake.params, snakemake.input
    tables = dict(zip(params.tables, map(read_csv, inputs.tables), strict=True))
    raw: dict[str, list[tuple[pd.DataFrame, dict[str, Any]]]] = {}
    for (experiment, _), path in zip(params.raw, inputs.raw, strict=True):
        raw.setdefault(experiment, []).append(read_parquet(path))
    models = read_csv(inputs.models)
    models["bos"] = models["model"].isin(params.bos)
    study = snakemake.wildcards.study
    results = []
    for name, entry in params.claims.items():
        claim = Claim.model_validate(entry)
        result = claims.check(
            claim, tables, raw, models, resamples=params.resamples, seed=params.seed
        )
        target = f"results/{study}/claims/{name}.json"
        command = f"snakemake --force {target} --config study={study}"
        results.append({**result, "command": command, "cost": params.costs[name]})
    write_json(snakemake.output[0], results)
    for path in snakemake.output[1:]:
        write_csv(path, claims.flat(results))
