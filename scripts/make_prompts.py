"""Prompts and pairs of a prompt set, in the tokens of one model."""

from pathlib import Path

from _job import job

from stable_regions import prompts
from stable_regions.files import read_parquet, write_parquet

with job(snakemake) as log:
    entry = snakemake.params.entry
    tokenizer = prompts.load_tokenizer(Path(snakemake.input.model))
    if entry["kind"] == "random":
        works, _ = read_parquet(snakemake.input.corpus)
        table = prompts.chunk_prompts(
            works,
            tokenizer,
            tokens=entry["tokens"],
            count=entry["count"],
            seed=entry["seed"],
        )
        pairs = prompts.neighbour_pairs(table)
    else:
        written = {name: (pair["a"], pair["b"]) for name, pair in entry["pairs"].items()}
        table, pairs = prompts.written_pairs(written, tokenizer)
    log.info("%d prompts, %d pairs", len(table), len(pairs))
    facts = {"prompts": entry, "model": snakemake.wildcards.model}
    write_parquet(snakemake.output.prompts, table, facts)
    write_parquet(snakemake.output.pairs, pairs, facts)
