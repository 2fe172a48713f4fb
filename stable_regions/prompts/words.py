"""Words of known kinds as last tokens of a few contexts: the list, and its checks."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd
from tokenizers import Tokenizer

from stable_regions.base.errors import UserError
from stable_regions.prompts.draw import COLUMNS, encode, lost_text
from stable_regions.prompts.word_list import FEWEST, WordList


def single_tokens(words: Sequence[str], tokenizer: Tokenizer, context: str) -> list[int]:
    """Token id of each word with its leading space, behind a context.

    Raises
    ------
    UserError
        A word that is not one token: the message names the first and counts the others. Two words
        that are the same token.
    """
    ids = _tokens(words, tokenizer, context)
    wrong = [(word, tokens) for word, tokens in zip(words, ids, strict=True) if len(tokens) != 1]
    if wrong:
        word, tokens = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        raise UserError(
            f"words: {f' {word}'!r} is {len(tokens)} tokens in this tokenizer{more}; "
            "choose words that are a single token with their leading space, "
            "or set not_single: leave out"
        )
    first = {tokens[0]: word for word, tokens in zip(reversed(words), reversed(ids), strict=True)}
    for word, tokens in zip(words, ids, strict=True):
        if first[tokens[0]] != word:
            raise UserError(
                f"words: {word!r} and {first[tokens[0]]!r} are the same token in this tokenizer; "
                "leave one of them out"
            )
    return [tokens[0] for tokens in ids]


def _tokens(words: Sequence[str], tokenizer: Tokenizer, context: str) -> list[list[int]]:
    """Token ids of each word with its leading space; none of a word that is not all known.

    They are what comes to the context's: some tokenizers put a space of their own before a text, so
    that a word by itself is other tokens than inside. Of a word that changes the context's, all.
    """
    before, *whole = (
        encoding.ids
        for encoding in encode(tokenizer, [context, *(f"{context} {w}" for w in words)])
    )
    ids = [some[len(before) :] if some[: len(before)] == before else some for some in whole]
    return [
        some if lost_text(tokenizer, f" {word}", some) is None else []
        for word, some in zip(words, ids, strict=True)
    ]


def only_single(words: WordList, tokenizer: Tokenizer) -> WordList:
    """The list without the words that are several tokens, and without the kinds left too small.

    Raises
    ------
    UserError
        If fewer than two kinds are left.
    """
    kinds = []
    for kind in words.kinds:
        ids = zip(*(_tokens(kind.words, tokenizer, text) for text in words.contexts), strict=True)
        single = [
            word
            for word, each in zip(kind.words, ids, strict=True)
            if all(len(some) == 1 for some in each)
        ]
        if len(single) >= FEWEST:
            kinds.append(kind.model_copy(update={"words": single}))
    if len(kinds) < 2:
        raise UserError(
            f"words: {len(kinds)} of {len(words.kinds)} kinds have {FEWEST} words that are a "
            "single token in this tokenizer; at least 2 are needed"
        )
    return words.model_copy(update={"kinds": kinds})


def word_prompts(
    words: WordList,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    contexts: int | None = None,
    words_per_kind: int | None = None,
) -> pd.DataFrame:
    """Each word at the end of each context, in the list's order, context by context.

    The tokens are those of the whole text, which are the context's and the word's one: no special
    tokens, as in the paper.

    Parameters
    ----------
    texts
        Where the words' frequency is counted.
    contexts, words_per_kind
        The first so many of them; all where None.

    Returns
    -------
    One row a prompt: as `prompts.draw` makes them, with ``context`` (number), ``word``,
    ``kind``, ``part_of_speech`` and ``log_frequency``. `work` and `offset` say that nobody wrote
    the prompt.
    """
    if contexts is not None and contexts > len(words.contexts):
        raise UserError(
            f"words: {contexts} contexts are asked for; the list has {len(words.contexts)}"
        )
    rows = [
        (word, kind.name, kind.part_of_speech)
        for kind in words.kinds
        for word in kind.words[:words_per_kind]
    ]
    table = pd.DataFrame(rows, columns=["word", "kind", "part_of_speech"])
    table["log_frequency"] = log_frequency(list(table["word"]), texts)
    parts = []
    for number, text in enumerate(words.contexts[:contexts]):
        context = encode(tokenizer, [text])[0].ids
        if (unknown := lost_text(tokenizer, text, context)) is not None:
            raise UserError(f"context {text!r}: the tokenizer has no token for {unknown!r}")
        token = single_tokens(list(table["word"]), tokenizer, text)
        part = table.assign(
            text=text + " " + table["word"],
            last_token=" " + table["word"],
            work="written by hand",
            offset=0,
            context=number,
        )
        part["tokens"] = pd.Series([[*context, last] for last in token])
        parts.append(part)
    whole = pd.concat(parts, ignore_index=True)
    whole["prompt"] = range(len(whole))
    return whole[[*COLUMNS, "context", *table.columns]]


def log_frequency(words: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Natural log of 1 + how often each word stands between white space or punctuation in `texts`.

    A confounder, not a measurement of the model: capital letters count as they stand.
    """
    vocabulary = set(words)
    counts = Counter(
        token for text in texts for token in re.findall(r"[^\W\d_]+", text) if token in vocabulary
    )
    return [math.log1p(counts[word]) for word in words]
