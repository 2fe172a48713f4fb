"""Compute the max slopes of a few pairs by a second road, and hold them against the first's."""

from pathlib import Path

import pandas as pd
import torch
from _job import job

from stable_regions.audit.independent import agreement, compare
from stable_regions.base.files import read_csv, read_parquet, write_csv
from stable_regions.base.progress import Progress
from stable_regions.models import huggingface
from stable_regions.models.load import placed

with job(snakemake) as log:
    params = snakemake.params
    slopes = read_csv(snakemake.input.pairs)
    parts = []
    progress = Progress("second road", len(params.refs), "models")
    torch.set_num_threads(snakemake.threads)
    for ref, where, folder, path in zip(
        params.refs, params.placed, snakemake.input.models, snakemake.input.raw, strict=True
    ):
        log.info("%s", ref)
        raw, _ = read_parquet(path)
        device, spread = placed(where["device"]), where["device_map"]
        model = huggingface.load(Path(folder), device=device, device_map=spread, plain=False)
        part = compare(model, raw, slopes[slopes["model"] == ref])
        parts.append(part.assign(model=ref))
        progress.advance(1)
    write_csv(snakemake.output[0], agreement(pd.concat(parts, ignore_index=True)))
