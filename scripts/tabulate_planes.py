"""Tables of planes: a summary, one row a triple, every point, and the texts of the top tokens."""

from _job import job

from stable_regions.base.files import read_safetensors, write_csv
from stable_regions.experiments.plane import tables as plane_tables

with job(snakemake):
    raw = [read_safetensors(path, framework="numpy") for path in snakemake.input]
    params, output = snakemake.params, snakemake.output
    triples = plane_tables.triples(raw)
    summary = plane_tables.summary(triples, resamples=params.resamples, seed=params.seed)
    write_csv(output.summary, summary)
    write_csv(output.triples, triples)
    write_csv(output.points, plane_tables.points(raw))
    write_csv(output.tokens, plane_tables.token_texts(raw))
