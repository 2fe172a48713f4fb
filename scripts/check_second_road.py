"""Compute the max slopes of a few pairs by a second road, and hold them against the first's."""

from pathlib import Path

import pandas as pd
from _job import job

from stable_regions.files import read_csv, read_parquet, write_csv
from stable_regions.progress import Progress
from stable_regions.second_road import agreement, compare

with job(snakemake) as log:
    params = snakemake.params
    slopes = read_csv(snakemake.input.pairs)
    parts = []
    progress = Progress("second road", len(params.refs), "models")
    for ref, placed, folder, path in zip(
        params.refs, params.placed, snakemake.input.models, snakemake.input.raw, strict=True
    ):
        log.info("%s", ref)
        raw, _ = read_parquet(path)
        part = compare(
            Path(folder),
            raw,
            slopes[slopes["model"] == ref],
            **placed,
            threads=snakemake.threads,
        )
        parts.append(part.assign(model=ref))
        progress.advance(1)
    write_csv(snakemake.output[0], agreement(pd.concat(parts, ignore_index=True)))
