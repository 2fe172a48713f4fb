"""The twin of a model: random weights in its architecture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from stable_regions.base.errors import UserError
from stable_regions.models.shapes import Shape
from stable_regions.sources.origin import ModelSource
from stable_regions.sources.packages import read_source_json
from stable_regions.study.fields import Name, Seed, check_known

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(ModelSource):
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

    def twin_of(self) -> str | None:
        return self.like

    def shape(self, config: "Config", model: str) -> Shape | str | None:
        return config.models[self.like].known_shape(config, self.like)

    def make(self, folder: Path, origin: Path, package: Any) -> dict[str, Any]:
        from stable_regions.sources import twin

        twin.randomise(origin, folder, self.seed)
        return {"like": read_source_json(origin)["files"]}

    def takes(self, config: "Config", shape: Shape, revisions: int) -> tuple[int, int]:
        return 0, shape.kept
