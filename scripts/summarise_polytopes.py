"""Tables of a polytopes experiment: gates by layer, boundaries, both compared, and pairs."""

from _job import job

from stable_regions.base.files import read_parquet, write_csv
from stable_regions.experiments.polytopes import tables

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input]
    out, params = snakemake.output, snakemake.params
    sampling = {"resamples": params.resamples, "seed": params.seed}
    write_csv(out.gates, tables.gates(raw, **sampling))
    write_csv(out.boundaries, tables.boundaries(raw, **sampling))
    write_csv(out.comparison, tables.comparison(raw, **sampling))
    write_csv(out.pairs, tables.pairs(raw))
