"""Tables of what goes with sharpness: pairs, groups of them, examples, and predictions."""

from _job import job

from stable_regions.base.files import read_parquet, write_csv
from stable_regions.experiments.interpolation import predictions as meaning

with job(snakemake):
    raw = [read_parquet(path) for path in snakemake.input.raw]
    prompts = [read_parquet(path)[0] for path in snakemake.input.prompts]
    out, params = snakemake.output, snakemake.params
    sampling = {"resamples": params.resamples, "seed": params.seed}
    slopes = meaning.slopes(raw)
    write_csv(out.slopes, slopes)
    write_csv(out.groups, meaning.groups(slopes, **sampling))
    write_csv(out.examples, meaning.examples(slopes, prompts, number=20, seed=params.seed))
    write_csv(out.predictions, meaning.predictions(raw, **sampling))
