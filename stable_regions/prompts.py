"""Prompts and pairs of prompts: token ids, text, and where each came from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from stable_regions.errors import UserError

COLUMNS = ["prompt", "text", "tokens", "last_token", "work", "offset"]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder; UserError if there is none or it can't be read."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"{path}: no such file; a model folder needs a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(f"{path}: not a readable tokenizer ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def chunk_prompts(
    works: pd.DataFrame, tokenizer: Tokenizer, *, tokens: int, count: int, seed: int
) -> pd.DataFrame:
    """Draw chunks of a corpus as prompts (paper, section 3: random pairs).

    Every work is cut into consecutive chunks of `tokens` tokens, without a BOS token; `count`
    of all these chunks are drawn without replacement.

    Parameters
    ----------
    works
        One row a work: `work`, `text`.

    Returns
    -------
    One row a prompt: `prompt` (number), `text`, `tokens` (ids), `last_token` (its text), `work`,
    `offset` (of the first character in the work's text).

    Raises
    ------
    UserError
        If the corpus has fewer chunks than `count`.
    """
    encoded = tokenizer.encode_batch(list(works["text"]), add_special_tokens=False)
    chunks = [(work, at) for work, e in enumerate(encoded) for at in range(len(e.ids) // tokens)]
    if len(chunks) < count:
        raise UserError(
            f"the corpus has {len(chunks)} chunks of {tokens} tokens; {count} prompts are asked for"
        )
    drawn = np.random.default_rng(seed).permutation(len(chunks))[:count]
    rows = []
    for number, index in enumerate(drawn):
        work, at = chunks[index]
        ids = encoded[work].ids[at * tokens : (at + 1) * tokens]
        offset = encoded[work].offsets[at * tokens][0]
        name = works["work"].iloc[work]
        rows.append((number, *_texts(tokenizer, ids), name, offset))
    return pd.DataFrame(rows, columns=COLUMNS)


def _texts(tokenizer: Tokenizer, ids: list[int]) -> tuple[str, list[int], str]:
    """Text of a prompt, its ids, and the text of its last token."""
    text, last = (tokenizer.decode(some, skip_special_tokens=False) for some in (ids, ids[-1:]))
    return text, ids, last


def neighbour_pairs(prompts: pd.DataFrame) -> pd.DataFrame:
    """Pair i is (prompt i, prompt i + 1), as in the authors' code.

    Returns
    -------
    One row a pair: `pair` (its name), `prompt_a`, `prompt_b` (numbers of prompts).
    """
    numbers = prompts["prompt"].to_numpy()
    return pd.DataFrame(
        {
            "pair": [str(i) for i in range(len(numbers) - 1)],
            "prompt_a": numbers[:-1],
            "prompt_b": numbers[1:],
        }
    )


def written_pairs(
    pairs: Mapping[str, tuple[str, str]], tokenizer: Tokenizer
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prompts and pairs out of texts written by hand; a text that recurs is one prompt.

    Raises
    ------
    UserError
        If a text is empty or a single token, or the two of a pair differ in their number of tokens.
    """
    texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
    ids = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in texts}
    for name, (a, b) in pairs.items():
        for text in (a, b):
            if len(ids[text]) < 2:
                raise UserError(
                    f"pair {name}: {text!r} is {len(ids[text])} token(s); at least 2 are needed"
                )
        if len(ids[a]) != len(ids[b]):
            raise UserError(
                f"pair {name}: its prompts have {len(ids[a])} and {len(ids[b])} tokens; "
                "they must be of one length"
            )
    number = {text: i for i, text in enumerate(texts)}
    prompts = pd.DataFrame(
        [(number[t], *_texts(tokenizer, ids[t]), "written by hand", 0) for t in texts],
        columns=COLUMNS,
    )
    table = pd.DataFrame(
        [(name, number[a], number[b]) for name, (a, b) in pairs.items()],
        columns=["pair", "prompt_a", "prompt_b"],
    )
    return prompts, table


def by_length(tokens: Sequence[Sequence[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group token lists by their length.

    Returns
    -------
    For each length, from short to long: the indices of the lists, and their tokens `[list, token]`.
    """
    lengths = np.array([len(ids) for ids in tokens])
    groups = (np.flatnonzero(lengths == length) for length in np.unique(lengths))
    return [(some, np.array([tokens[int(i)] for i in some], dtype=np.int64)) for some in groups]
