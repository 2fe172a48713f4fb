"""Another model's files, to be run otherwise."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stable_regions.base.errors import UserError
from stable_regions.base.files import link
from stable_regions.models.shapes import Shape
from stable_regions.sources.origin import ModelSource
from stable_regions.sources.packages import model_files, read_source_json
from stable_regions.study import paths
from stable_regions.study.fields import Name, check_known

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(ModelSource):
    """Another model's files by links, for an entry that runs them otherwise, as with a BOS token.

    They take no disk, and are neither fetched nor converted again.
    """

    has_weights: ClassVar[bool] = False  # of its own: a twin is made of the other model
    kind: Literal["same"]
    """Those of another model."""
    model: Name
    """The model, one of `models`."""

    def check(self, config: "Config", key: str, where: str) -> None:
        check_known("model", self.model, config.models, f"{key}.model", where)
        other = config.models[self.model].source
        if not other.has_weights or other.revisions():
            raise UserError(
                f"{where}: {key}.model: {self.model!r} is of kind {other.kind!r}; "
                "give a model with one set of weights of its own"
            )

    def inputs(self, config: "Config") -> list[str]:
        return [paths.model(self.model)]

    def models(self) -> list[str]:
        return [self.model]

    def shape(self, config: "Config", model: str) -> Shape | str | None:
        return config.models[self.model].known_shape(config, self.model)

    def make(self, folder: Path, origin: Path, package: Any) -> dict[str, Any]:
        for path in model_files(origin):
            link(path.resolve(), folder / path.name)
        return {"like": read_source_json(origin)["files"]}
