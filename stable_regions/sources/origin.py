"""What the workflow asks of a source: what it is made of, how it is made, what it takes.

Snakemake reads the sources at each start, so PyTorch, pandas and the like are imported where
something is made.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from stable_regions.base.strict import Strict
from stable_regions.models.shapes import Shape
from stable_regions.study import paths
from stable_regions.study.fields import Count, Name, NotNegative, Revision, Unique

if TYPE_CHECKING:
    from stable_regions.study.config import Config
    from stable_regions.training.settings import TrainingSettings


def on_disk(place: str) -> Path:
    """A place on this disk, its `~` written out."""
    return Path(os.path.expanduser(place))


def file_stamps(files: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of files."""
    facts = {path.name: path.stat() for path in files}
    return {name: [fact.st_size, int(fact.st_mtime)] for name, fact in facts.items()}


class Origin(Strict):
    """Where something comes from; each kind overrides what differs.

    Attributes
    ----------
    way
        How it comes about: "made" of what is on this disk; "shared", made so that other working
        directories can have it too; "fetched" from the network, where Snakemake runs; "trained".
    """

    way: ClassVar[Literal["made", "shared", "fetched", "trained"]] = "made"
    kind: str

    def check(self, config: "Config", key: str, where: str) -> None:
        """UserError if it names what the configuration lacks, or can't be made."""

    def inputs(self, config: "Config") -> list[str]:
        """The files or the folder that it is made from; none if it is fetched."""
        return []

    def origin(self, config: "Config") -> str:
        """The one place that these lie in."""
        [place] = self.inputs(config)
        return place

    def place(self) -> str | None:
        """The path on this disk that the configuration names; None if it names none."""
        return None

    def check_place(self, path: Path) -> None:
        """UserError unless what is at that path will do."""

    def file_stamps(self) -> dict[str, list[int]] | None:
        """Size and time of a user's own files: an edit may give an older time."""
        return None

    def absent(self, revisions: Sequence[str]) -> list[str]:
        """What is to be fetched for it and is not where it comes from, a line each.

        Nothing where that cannot be asked.

        Parameters
        ----------
        revisions
            Those that are used; of a source without revisions, none.
        """
        return []

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        """The package that it comes in, as plain values; None if it is not in one.

        Where it comes in several, each by its name.
        """
        return None


class ModelSource(Origin):
    """Where a model's weights come from."""

    has_weights: ClassVar[bool] = True  # of its own: a twin can be made of it

    def make(self, folder: Path, origin: Path, package: Any) -> dict[str, Any]:
        """Make a model's files.

        Parameters
        ----------
        folder
            To make them in: config.json, safetensors, tokenizer.json.
        origin
            What `origin` says.
        package
            What `in_package` says.

        Returns
        -------
        What is to be said of it in its `source.json`, beside the entry in the configuration and
        the SHA-256 of each file.
        """
        raise NotImplementedError

    def tokenizer_folder(self, model: str) -> str:
        """The folder of its tokenizer, which all its revisions share."""
        return paths.model(model)

    def revisions(self) -> list[str]:
        """The names of its checkpoints, first to last; none where it has one set of weights."""
        return []

    def models(self) -> list[str]:
        """Other models that it is made of."""
        return []

    def twin_of(self) -> str | None:
        """The model whose twin with random weights it is, if it is one."""
        return None

    def corpora(self, config: "Config") -> list[str]:
        """The corpora that it is trained on here."""
        return []

    def shape(self, config: "Config", model: str) -> Shape | str | None:
        """Its shape, or the file that holds it; None if neither is at hand."""
        return next((path for path in self.configs(model) if Path(path).exists()), None)

    def configs(self, model: str) -> list[str]:
        """Where its config.json may lie."""
        return [f"{place}/config.json" for place in (paths.model(model), paths.hub_config(model))]

    def takes(self, config: "Config", shape: Shape, revisions: int) -> tuple[int, int]:
        """Bytes to download for so many revisions, and the most bytes on the disk at a time."""
        return 0, 0


class FetchedSource(ModelSource):
    """A model that is fetched from the network; with `checkpoints`, several revisions of it."""

    way = "fetched"
    revision: Revision = "main"
    """A branch, a tag or a commit."""
    checkpoints: Unique[Revision] = Field(default=[])
    """Revisions that are used as `model@revision`, in the order of training."""

    def tokenizer_folder(self, model: str) -> str:
        return paths.hub_config(model)

    def revisions(self) -> list[str]:
        return self.checkpoints

    def fetch(
        self, folder: Path, revision: str, *, weights: bool, private_cache: Path | None
    ) -> dict[str, Any]:
        """Fetch a revision's files.

        Parameters
        ----------
        folder
            To have them in.
        weights
            Whether all are needed, or config.json and the tokenizer alone.
        private_cache
            A folder to download to, where the files shall not stay after the folder is deleted.

        Returns
        -------
        As `make` does.
        """
        raise NotImplementedError

    def check_fetched(self, folder: Path) -> None:
        """UserError unless a folder that has its `source.json` holds what was to be fetched."""


class TrainedSource(ModelSource):
    """A model that is trained in the workflow, from its first weights on.

    Its checkpoints are the revisions `step0`, ... of the model.
    """

    way = "trained"
    has_weights: ClassVar[bool] = False
    tokenizer: Name
    """Its tokenizer, one of `tokenizers`; it is trained on the same corpora."""
    context: Count
    """Tokens in a training sequence, and in the longest prompt that the model takes."""
    steps: Count
    """Updates of the weights."""
    batch: Count
    """Sequences in each update."""
    checkpoints: list[NotNegative] = Field(min_length=2)
    """Numbers of updates after which the weights are kept, rising from 0 to `steps`. They are the
    revisions `step0`, ... of the model.
    """

    def settings(self) -> "TrainingSettings":
        """How the model is trained; UserError, which begins with the key, if that is wrong."""
        raise NotImplementedError

    @property
    def tokens(self) -> int:
        """Tokens that it is trained on."""
        return self.steps * self.batch * self.context

    def tokenizer_folder(self, model: str) -> str:
        return paths.tokenizer(self.tokenizer)

    def revisions(self) -> list[str]:
        return [f"step{step}" for step in self.checkpoints]

    def corpora(self, config: "Config") -> list[str]:
        return config.tokenizers[self.tokenizer].corpora
