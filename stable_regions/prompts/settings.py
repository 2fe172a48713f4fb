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
    corpus: Name
    tokens: TwoOrMore = 10
    count: TwoOrMore
    seed: Seed = 0

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
    corpus: Name
    tokens: TwoOrMore = 10
    crossings: Count
    seed: Seed = 0

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
    """Two prompts written by hand, and whether they are `similar`: continue alike.

    Figures set the similar pairs apart. What is measured does not depend on it, so it is left out
    of what results are held to.
    """

    a: NonEmptyStr
    b: NonEmptyStr
    similar: bool = Field(default=False, exclude=True)


class PairPrompts(PromptSet):
    """Pairs of prompts written by hand, by name. The paper's first figure shows them."""

    first: ClassVar[bool] = True
    kind: Literal["pairs"]
    pairs: dict[Name, PromptPair] = Field(min_length=1)

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
    corpus: Name
    tokens: TwoOrMore = 10
    last_tokens: TwoOrMore
    each: TwoOrMore
    seed: Seed = 0
    pairs_all_prompts: ClassVar[bool] = True

    def corpora(self) -> Sequence[str]:
        return [self.corpus]

    def length(self) -> int | None:
        return self.tokens

    def size(self, lists: Mapping[str, WordList]) -> Size:
        return Size(1, self.last_tokens * self.each, self.last_tokens * self.each)


class WordPrompts(PromptSet):
    """Words of known kinds, each a single token at the end of the same contexts.

    Every two words in one context are a pair. The words' frequency is counted in `corpus`.
    """

    kind: Literal["words"]
    list: LocalPath
    corpus: Name
    contexts: Count | None = None  # the first so many of the list's; all where not given
    words_per_kind: Annotated[int, Field(ge=6, lt=INT32_END)] | None = None
    not_single: Literal["refuse", "leave out"] = "refuse"
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
