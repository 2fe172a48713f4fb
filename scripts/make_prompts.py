"""Prompts and pairs of a prompt set, in the tokens of one model."""

from pathlib import Path

from _job import job

from stable_regions.base.files import read_parquet, write_parquet
from stable_regions.prompts import draw as prompts
from stable_regions.prompts.word_list import WordList
from stable_regions.prompts.words import only_single, word_prompts

with job(snakemake) as log:
    entry = snakemake.params.entry
    folder = Path(snakemake.input.model)
    tokenizer = prompts.load_tokenizer(folder)
    if entry["kind"] == "random":
        table = prompts.chunk_prompts(
            read_parquet(snakemake.input.corpus[0])[0],
            tokenizer,
            tokens=entry["tokens"],
            count=entry["count"],
            seed=entry["seed"],
        )
        pairs = prompts.neighbour_pairs(table)
    elif entry["kind"] == "crossed":
        table, pairs = prompts.crossed_pairs(
            read_parquet(snakemake.input.corpus[0])[0],
            tokenizer,
            tokens=entry["tokens"],
            crossings=entry["crossings"],
            seed=entry["seed"],
        )
    elif entry["kind"] == "recurring":
        table = prompts.recurring_prompts(
            read_parquet(snakemake.input.corpus[0])[0],
            tokenizer,
            tokens=entry["tokens"],
            last_tokens=entry["last_tokens"],
            each=entry["each"],
            seed=entry["seed"],
        )
        pairs = prompts.all_pairs(table)
    elif entry["kind"] == "words":
        [word_list] = snakemake.params.words
        words = WordList.model_validate(word_list)
        if entry["not_single"] == "leave out":
            words = only_single(words, tokenizer)
        table = word_prompts(
            words,
            tokenizer,
            list(read_parquet(snakemake.input.corpus[0])[0]["text"]),
            contexts=entry["contexts"],
            words_per_kind=entry["words_per_kind"],
        )
        pairs = prompts.all_pairs(table)
    else:
        texts = {name: (pair["a"], pair["b"]) for name, pair in entry["pairs"].items()}
        table, pairs = prompts.written_pairs(texts, tokenizer)
    if snakemake.params.bos:
        first = prompts.bos_token(folder, tokenizer)
        table["tokens"] = [[first, *tokens] for tokens in table["tokens"]]
    log.info("%d prompts, %d pairs", len(table), len(pairs))
    facts = {"prompts": entry, "model": snakemake.wildcards.model, "bos": snakemake.params.bos}
    write_parquet(snakemake.output.prompts, table, facts)
    write_parquet(snakemake.output.pairs, pairs, facts)
