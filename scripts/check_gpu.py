"""Try the GPU on the study's first model, and say whether the study can be started."""

from pathlib import Path

import torch
from _job import job

from stable_regions.base.errors import UserError, printable
from stable_regions.base.files import read_parquet
from stable_regions.estimate.gpu_check import accelerator, gpu_check, report
from stable_regions.estimate.workload import Work
from stable_regions.models.shapes import Shape
from stable_regions.prompts.draw import by_length

with job(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    device = accelerator(params.compute["device"])
    budget = params.compute["memory_budget_mb"] * 2**20
    shapes = {model: Shape(**facts) for model, facts in params.shapes.items() if facts is not None}
    name = params.ref.partition("@")[0]
    if name not in shapes:
        raise UserError(
            f"models.{name}: has no shape; give one, or fetch its config first: "
            f"snakemake resources/configs/{name}"
        )
    works = [Work.of(fields) for fields in params.works]
    on_gpu = [work for work in works if work.stage != "training" and work.model in shapes]
    prompts, _ = read_parquet(inputs.prompts)
    tokens = torch.from_numpy(
        max(by_length(list(prompts["tokens"])), key=lambda one: len(one[1]))[1]
    )
    log.info("%s on %s: about two minutes", params.ref, device)
    found = gpu_check(
        Path(inputs.model), tokens, shapes[name], device=device, dtype=params.dtype,
        layer=params.layer, threads=snakemake.threads, budget=budget,
    )  # fmt: skip
    lines = report(
        found, shapes[name], model=params.ref, layer=params.layer,
        operations=sum(work.operations(shapes[work.model]) for work in on_gpu),
        largest=max(work.peak_memory(shapes[work.model], budget) for work in on_gpu),
    )  # fmt: skip
    print(printable("\n".join(lines)))
