"""A small model trained in the workflow."""

from typing import TYPE_CHECKING, Literal

from stable_regions.base.errors import UserError
from stable_regions.models.shapes import Shape
from stable_regions.sources.origin import TrainedSource
from stable_regions.study.fields import Count, NotNegative, Seed, check_known
from stable_regions.training.settings import TrainingSettings

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(TrainedSource):
    """A small Llama model trained in the workflow; see `TrainingSettings`, which checks it."""

    kind: Literal["train"]
    layers: Count
    width: Count
    heads: Count
    mlp_width: Count
    learning_rate: float
    warmup: NotNegative
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    seed: Seed

    def settings(self) -> TrainingSettings:
        values = self.model_dump(exclude={"kind", "tokenizer", "checkpoints"})
        return TrainingSettings(**values, checkpoints=tuple(self.checkpoints))

    def check(self, config: "Config", key: str, where: str) -> None:
        check_known("tokenizer", self.tokenizer, config.tokenizers, f"{key}.tokenizer", where)
        try:
            self.settings()
        except UserError as error:
            raise UserError(f"{where}: {key}.{error}") from None

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
