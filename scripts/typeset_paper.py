"""Set the paper: Typst source and results become a PDF."""

import json
from pathlib import Path

import typst
from _job import job

from stable_regions.base.errors import UserError
from stable_regions.base.files import atomic
from stable_regions.estimate.costs import cost_table

with job(snakemake):
    results = Path(snakemake.input.numbers).parent.resolve()
    source = Path(snakemake.input.main).resolve()
    text = source.read_text(encoding="utf-8")
    sections = [Path(path).name for path in snakemake.input.parts if "/sections/" in path]
    others = [name for name in sections if f"sections/{name}" not in text]
    try:
        # The results may lie outside the checkout, so the root is the whole file system.
        costs = cost_table(snakemake.params.benchmarks).to_json(orient="records")
        inputs = {"results": str(results), "costs": costs, "others": json.dumps(others)}
        pdf = typst.compile(source, root=Path("/"), sys_inputs=inputs)
    except typst.TypstError as error:
        raise UserError(f"{source.name}: {error}") from None
    with atomic(snakemake.output[0]) as target:
        target.write_bytes(pdf)
