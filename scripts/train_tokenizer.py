"""Train a tokenizer, and encode its corpora as one stream of tokens."""

from pathlib import Path

from _job import job

from stable_regions.base.files import atomic, read_parquet, write_arrays
from stable_regions.training import tokenizer

with job(snakemake) as log:
    entry = snakemake.params.entry
    texts = [text for path in snakemake.input for text in read_parquet(path)[0]["text"]]
    trained = tokenizer.train_tokenizer(texts, entry["vocabulary"])
    stream = tokenizer.encode(trained, texts)
    log.info("%d tokens of %d kinds", len(stream), entry["vocabulary"])
    with atomic(snakemake.output[0]) as target:
        tokenizer.save_tokenizer(trained, target)
        write_arrays(Path(target, "tokens.safetensors"), {"tokens": stream}, entry)
