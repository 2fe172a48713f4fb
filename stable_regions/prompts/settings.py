"""The section `prompts` of `config.yaml`: a class per kind of prompt set."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from stable_regions.base.errors import UserError, short
from stable_regions.base.strict import Strict
from stable_regions.prompts.word_list import WordList
from stable_regions.study.fields import (
    INT32_END,
    Count,
    LocalPath,
    Name,
    NonEmptyStr,
    Seed,
    TwoOrMore,
    check_known,
)

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class PromptSet(Strict):
    """A prompt set; each kind overrides what differs."""

    pairs_all_prompts: ClassVar[bool] = False  # prompts in one context are a pair
    first: ClassVar[bool] = False  # what it is used for is made before all else

    def check(self, config: "Config", key: str, where: str) -> None:
        """UserError if it names what the configuration lacks, or contradicts itself."""
        for corpus in self.corpora():
            check_known("corpus", corpus, config.corpora, f"{key}.corpus", where)

    def corpora(self) -> Sequence[str]:
        """The corpora that it is drawn from."""
        return []

    def lists(self) -> Sequence[str]:
        """The lists of words that it is made of."""
        return []

    def length(self) -> int | None:
        """Tokens of each prompt, where that is set."""
        return None

    def size(self, lists: Mapping[str, WordList]) -> "Size":
        """How many prompts there are; at most, as a tokenizer may leave fewer words."""
        raise NotImplementedError

    @property
    def max_pairs(self) -> int:
        """The pairs that these prompts give, one after another."""
        raise NotImplementedError


class Size(NamedTuple):
    """Contexts of a prompt set, prompts in each, and prefixes before their last tokens."""

    contexts: int
    prompts: int
    prefixes: int


class RandomPrompts(PromptSet):
    """Chunks of a corpus, drawn without replacement; pair i is (prompt i, prompt i + 1)."""

    kind: Literal["random"]
    """Drawn at random."""
    corpus: Name
    """The corpus that they are drawn from, one of `corpora`."""
    tokens: TwoOrMore = 10
    """Tokens of a prompt."""
    count: TwoOrMore
    """Prompts."""
    seed: Seed = 0
    """Seed of the draw."""

    def corpora(self) -> Sequence[str]:
        return [self.corpus]

    def length(self) -> int | None:
        return self.tokens

    def size(self, lists: Mapping[str, WordList]) -> Size:
        return Size(1, self.count, self.count)

    @property
    def max_pairs(self) -> int:
        return self.count - 1


class CrossedPrompts(PromptSet):
    """Two contexts by two last tokens, all from one corpus: controls for what a pair shares.

    Each crossing gives three pairs with one prompt in common, the other of which differs in its
    last token, in its context, or in both.
    """

    kind: Literal["crossed"]
    """Two contexts crossed with two last tokens."""
    corpus: Name
    """The corpus that they are drawn from, one of `corpora`."""
    tokens: TwoOrMore = 10
    """Tokens of a prompt."""
    crossings: Count
    """Crossings, of four prompts each."""
    seed: Seed = 0
    """Seed of the draw."""

    def corpora(self) -> Sequence[str]:
        return [self.corpus]

    def length(self) -> int | None:
        return self.tokens

    def size(self, lists: Mapping[str, WordList]) -> Size:
        return Size(1, 4 * self.crossings, 4 * self.crossings)

    @property
    def max_pairs(self) -> int:
        return 3 * self.crossings


class PromptPair(Strict):
    """Two prompts written by hand."""

    a: NonEmptyStr
    """The first prompt."""
    b: NonEmptyStr
    """The second prompt."""
    similar: bool = Field(default=False, exclude=True)  # raw outputs do not follow from it
    """Whether they continue alike; figures separate similar pairs from the others. Nothing that
    is measured depends on it.
    """


class PairPrompts(PromptSet):
    """Pairs of prompts written by hand, by name. The paper's first figure shows them."""

    first: ClassVar[bool] = True
    kind: Literal["pairs"]
    """Written by hand."""
    pairs: dict[Name, PromptPair] = Field(min_length=1)
    """The pairs, by name."""

    @property
    def similar(self) -> list[str]:
        """The pairs of similar prompts."""
        return [name for name, pair in self.pairs.items() if pair.similar]

    def check(self, config: "Config", key: str, where: str) -> None:
        for name, pair in self.pairs.items():
            if pair.a == pair.b:
                raise UserError(
                    f"{where}: {key}.pairs.{name}: both prompts are "
                    f"{short(pair.a)}; two different ones are right"
                )

    def size(self, lists: Mapping[str, WordList]) -> Size:
        return Size(1, 2 * len(self.pairs), 2 * len(self.pairs))

    @property
    def max_pairs(self) -> int:
        return len(self.pairs)


class RecurringPrompts(PromptSet):
    """Chunks of a corpus that end in one of a few tokens, as many of each; every two are a pair."""

    kind: Literal["recurring"]
    """With recurring last tokens."""
    corpus: Name
    """The corpus that they are drawn from, one of `corpora`."""
    tokens: TwoOrMore = 10
    """Tokens of a prompt."""
    last_tokens: TwoOrMore
    """Last tokens, the most frequent ones."""
    each: TwoOrMore
    """Prompts that end in each of them."""
    seed: Seed = 0
    """Seed of the draw."""
    pairs_all_prompts: ClassVar[bool] = True

    def corpora(self) -> Sequence[str]:
        return [self.corpus]

    def length(self) -> int | None:
        return self.tokens

    def size(self, lists: Mapping[str, WordList]) -> Size:
        return Size(1, self.last_tokens * self.each, self.last_tokens * self.each)


class WordPrompts(PromptSet):
    """Words of known kinds, each a single token at the end of the same contexts.

    Every two words in one context are a pair.
    """

    kind: Literal["words"]
    """Words after fixed contexts."""
    list: LocalPath
    """The file of words and contexts, such as config/words.yaml."""
    corpus: Name
    """The corpus that the words' frequencies are counted in, one of `corpora`."""
    contexts: Count | None = None
    """Contexts, the first ones of the list; all of them by default."""
    words_per_kind: Annotated[int, Field(ge=6, lt=INT32_END)] | None = None
    """Words of each kind, the first ones of the list; all of them by default."""
    not_single: Literal["refuse", "leave out"] = "refuse"
    """What happens if a word is more than one token: an error, or the word is left out."""
    pairs_all_prompts: ClassVar[bool] = True

    def corpora(self) -> Sequence[str]:
        return [self.corpus]

    def lists(self) -> Sequence[str]:
        return [self.list]

    def size(self, lists: Mapping[str, WordList]) -> Size:
        words, each = lists[self.list], self.words_per_kind
        contexts = len(words.contexts[: self.contexts])
        return Size(contexts, sum(len(kind.words[:each]) for kind in words.kinds), contexts)


Prompts = Annotated[
    RandomPrompts | CrossedPrompts | PairPrompts | RecurringPrompts | WordPrompts,
    Field(discriminator="kind"),
]
