"""Tables of a polytopes experiment: gates by layer, boundaries, both compared, and pairs."""

from _job import job

from stable_regions import polytope_tables as tables
from stable_regions.files import read_parquet, write_csv

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    out, params = snakemake.output, snakemake.params
    sampling = {"resamples": params.resamples, "seed": params.seed}
    write_csv(out.gates, tables.gates(raw, **sampling))
    write_csv(out.boundaries, tables.boundaries(raw, **sampling))
    write_csv(out.comparison, tables.comparison(raw, **sampling))
    write_csv(out.pairs, tables.pairs(raw))
