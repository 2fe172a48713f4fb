"""Lists of words of known kinds, as written in YAML."""

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from stable_regions.base.errors import UserError
from stable_regions.base.strict import Strict, one_line
from stable_regions.base.yaml_file import read_yaml

NonEmptyStr = Annotated[str, Field(min_length=1)]
# Words of a kind: fewer than the six that five nearest neighbours need would cap their score.
FEWEST = 6


class Kind(Strict):
    """A group of meaning; all its words share one part of speech."""

    name: NonEmptyStr
    part_of_speech: NonEmptyStr
    words: Annotated[list[NonEmptyStr], Field(min_length=FEWEST)]


class WordList(Strict):
    """Kinds of words, the contexts they are put in, and where they come from."""

    source: NonEmptyStr
    rule: NonEmptyStr
    contexts: Annotated[list[NonEmptyStr], Field(min_length=1)]
    kinds: Annotated[list[Kind], Field(min_length=2)]


def load_words(path: Path) -> WordList:
    """Read and check a list of words (YAML).

    Raises
    ------
    UserError
        An unknown or missing key, a value of another type (an unquoted ``on`` is a truth value in
        YAML), fewer than six words in a kind, or a context, kind or word that is there twice.
    """
    raw = read_yaml(path)
    try:
        words = WordList.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error, raw)}") from None
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
