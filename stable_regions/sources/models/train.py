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
    """A small Llama model trained in the workflow, with its embedding tied to its head."""

    kind: Literal["train"]
    """Trained in the workflow."""
    layers: Count
    """Blocks."""
    width: Count
    """Width of the residual stream."""
    heads: Count
    """Attention heads; they divide the width."""
    mlp_width: Count
    """Hidden units of an MLP."""
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
