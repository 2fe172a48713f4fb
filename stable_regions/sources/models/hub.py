"""A model on the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from stable_regions.base.progress import log
from stable_regions.models.shapes import BYTES, Shape
from stable_regions.sources.origin import FetchedSource
from stable_regions.study.fields import Commit, Repository

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(FetchedSource):
    """A repository on the Hugging Face hub; with `checkpoints`, several revisions of it."""

    kind: Literal["hub"]
    """On the Hugging Face hub."""
    repository: Repository
    """The name of the repository, with its owner."""
    commit: Commit | None = None
    """The commit of `revision` that is used, so that it stays what it was."""
    tokens: Annotated[int, Field(gt=0, lt=2**63)] | None = None
    """Tokens that the model of `revision` was trained on, where its name does not say so as in
    `step1000-tokens4B`.
    """

    def fetch(
        self, folder: Path, revision: str, *, weights: bool, private_cache: Path | None
    ) -> dict[str, Any]:
        from stable_regions.sources import hub

        commit = hub.fetch_model(
            self.repository,
            self._wanted(revision),
            folder,
            weights=weights,
            private_cache=private_cache,
        )
        log.info("%s at %s is commit %s", self.repository, revision, commit)
        named = revision == self.revision
        facts = {"tokens": self.tokens} if named and self.tokens is not None else {}
        return facts | {"revision": revision, "commit": commit}

    def absent(self, revisions: Sequence[str]) -> list[str]:
        from stable_regions.sources import hub

        return hub.absent(self.repository, [self._wanted(each) for each in revisions])

    def check_fetched(self, folder: Path) -> None:
        from stable_regions.sources import hub

        hub.check_hashes(folder)

    def _wanted(self, revision: str) -> str:
        return self.commit if self.commit and revision == self.revision else revision

    def takes(self, config: "Config", shape: Shape, revisions: int) -> tuple[int, int]:
        published = BYTES[shape.stored] * shape.weights
        # checkpoints lie on the disk one at a time
        return published * revisions, published * (1 if self.checkpoints else revisions)
