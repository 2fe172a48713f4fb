"""Train a tokenizer, and encode its corpora as one stream of tokens."""

from pathlib import Path

from _job import job

from stable_regions import training
from stable_regions.files import atomic, read_parquet, write_safetensors

with job(snakemake) as log:
    import torch

    entry = snakemake.params.entry
    texts = [text for path in snakemake.input for text in read_parquet(path)[0]["text"]]
    tokenizer = training.train_tokenizer(texts, entry["vocabulary"])
    stream = training.encode(tokenizer, texts)
    log.info("%d tokens of %d kinds", len(stream), entry["vocabulary"])
    with atomic(snakemake.output[0]) as made:
        training.save_tokenizer(tokenizer, made)
        tokens = torch.from_numpy(stream).to(torch.int32)
        write_safetensors(Path(made, "tokens.safetensors"), {"tokens": tokens}, entry)
