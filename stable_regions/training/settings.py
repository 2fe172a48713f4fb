"""How a model of the suite is trained, and checks of these settings.

It is apart from `stable_regions.training.train` so that a configuration is checked without torch.
"""

import math
from dataclasses import dataclass

from stable_regions.base.errors import UserError


@dataclass(frozen=True)
class TrainingSettings:
    """A Llama model and how it is trained.

    Parameters
    ----------
    layers, width, heads, mlp_width
        The architecture; `width` is that of the residual stream. Embedding and head are tied.
    context
        Tokens in a training sequence; the longest prompt that the model takes.
    steps, batch
        Updates, and sequences in each.
    learning_rate, warmup, schedule
        The rate rises linearly to `learning_rate` over the first `warmup` updates, then stays
        (`constant`) or falls to a tenth at the last (`cosine`).
    weight_decay
        Of the matrices; norms have none.
    seed
        Of the first weights and of the order of the data.
    checkpoints
        Numbers of updates after which to keep the weights: rising, from 0 to `steps`.
    """

    layers: int
    width: int
    heads: int
    mlp_width: int
    context: int
    steps: int
    batch: int
    learning_rate: float
    warmup: int
    schedule: str
    weight_decay: float
    seed: int
    checkpoints: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "mlp_width", "context", "steps", "batch"):
            _require(self, name, getattr(self, name) >= 1, "must be at least 1")
        _require(self, "width", self.width % self.heads == 0, f"{self.heads} heads must divide it")
        _require(
            self, "heads", self.width // self.heads % 2 == 0, "each must have an even width (RoPE)"
        )
        _require(self, "context", self.context >= 2, "must be at least 2")
        rate = self.learning_rate
        _require(self, "learning_rate", 0 < rate < math.inf, "must be positive and finite")
        in_steps = 0 <= self.warmup <= self.steps
        _require(self, "warmup", in_steps, f"must be between 0 and the {self.steps} steps")
        is_known = self.schedule in ("constant", "cosine")
        _require(self, "schedule", is_known, "must be constant or cosine")
        _require(self, "weight_decay", 0 <= self.weight_decay < 1, "must be from 0 to below 1")
        _require(self, "seed", self.seed >= 0, "must be at least 0")
        steps = list(self.checkpoints)
        ends = steps == sorted(set(steps)) and steps[:1] == [0] and steps[-1:] == [self.steps]
        _require(self, "checkpoints", ends, f"must rise from 0 to the {self.steps} steps")


def _require(settings: TrainingSettings, name: str, right: bool, rule: str) -> None:
    if not right:
        raise UserError(f"{name}: holds {getattr(settings, name)!r}; {rule}")
