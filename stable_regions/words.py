"""Words of known kinds as last tokens of a few contexts: the list, and its checks."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stable_regions.errors import UserError

Text = Annotated[str, Field(min_length=1)]


class Tokenizer(Protocol):
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class _Typed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Kind(_Typed):
    """A group of meaning; all its words share one part of speech."""

    name: Text
    part_of_speech: Text
    # fewer than the six that five nearest neighbours need would cap the neighbours' score
    words: Annotated[list[Text], Field(min_length=6)]


class WordList(_Typed):
    """Kinds of words, the contexts they are put in, and where they come from."""

    source: Text
    rule: Text
    contexts: Annotated[list[Text], Field(min_length=1)]
    kinds: Annotated[list[Kind], Field(min_length=2)]


def load_words(path: Path) -> WordList:
    """Read and check a list of words (YAML).

    Raises
    ------
    UserError
        An unknown or missing key, a value of another type (an unquoted ``on`` is a truth value in
        YAML), fewer than six words in a kind, or a context, kind or word that is there twice.
    """
    try:
        words = WordList.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        held = str(first["input"])[:60]
        raise UserError(f"{path}: {place}: {first['msg']}; it holds {held!r}") from None
    for what, names in {
        "context": words.contexts,
        "kind": [kind.name for kind in words.kinds],
        "word": [word for kind in words.kinds for word in kind.words],
    }.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(
                f"{path}: the {what} {twice[0]!r} is there twice; leave one, or neither"
            )
    return words


def single_tokens(words: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Token id of each word with its leading space.

    Raises
    ------
    UserError
        A word that is not one token: the message names the first and counts the others.
    """
    ids = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
    wrong = [(word, tokens) for word, tokens in zip(words, ids, strict=True) if len(tokens) != 1]
    if wrong:
        word, tokens = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        raise UserError(
            f"words: {f' {word}'!r} is {len(tokens)} tokens in this tokenizer{more}; "
            "choose words that are a single token with their leading space"
        )
    return [tokens[0] for tokens in ids]


def word_table(words: WordList, tokenizer: Tokenizer) -> pd.DataFrame:
    """One row a word, in the list's order: ``word``, ``kind``, ``part_of_speech``, ``token``."""
    rows = [(word, k.name, k.part_of_speech) for k in words.kinds for word in k.words]
    table = pd.DataFrame(rows, columns=["word", "kind", "part_of_speech"])
    return table.assign(token=single_tokens(list(table["word"]), tokenizer))


def context_tokens(words: WordList, tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of each context: a prompt is one of them and a word's token after it.

    No special tokens, as in the paper. A word begins with a space, where tokenizers split before
    they merge, so the tokens of the text are those of its two parts.
    """
    return [tokenizer.encode(text, add_special_tokens=False) for text in words.contexts]


def log_frequency(words: Sequence[str], texts: Sequence[str]) -> list[float]:
    """Natural log of 1 + how often each word stands between white space or punctuation in `texts`.

    A confounder, not a measurement of the model: capital letters count as they stand.
    """
    wanted = set(words)
    counts = Counter(
        token for text in texts for token in re.findall(r"[^\W\d_]+", text) if token in wanted
    )
    return [math.log1p(counts[word]) for word in words]
