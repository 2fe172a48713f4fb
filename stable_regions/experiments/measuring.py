"""The argument of `measure` in a kind's `measure.py`: one model, and what to measure on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from stable_regions.models.model import Model


@dataclass(frozen=True)
class Measuring:
    """A part of an experiment on one model.

    Attributes
    ----------
    model, folder
        The model, and the folder of its files.
    activations
        Those of its clean runs on the prompts: `resid.N` and the outputs, each `[prompt, width]`,
        and `top_token` `[prompt]`.
    prompts, pairs
        As made by `stable_regions.prompts.draw`.
    others
        Name, prompts and pairs of the experiment's other prompt sets.
    entry
        The experiment's settings as plain values.
    part
        Which of the experiment's `parts` it is.
    budget
        Memory for one batch, in bytes.
    load
        Gives the same model in another dtype.
    """

    model: Model
    folder: Path
    activations: Mapping[str, Tensor]
    prompts: pd.DataFrame
    pairs: pd.DataFrame
    others: Sequence[tuple[str, pd.DataFrame, pd.DataFrame]]
    entry: Mapping[str, Any]
    part: Any
    budget: int
    load: Callable[[str], Model]

    @property
    def own_pairs(self) -> pd.DataFrame:
        """The pairs of this part, where a part is the first pair and the one after the last."""
        first, end = self.part
        return self.pairs.iloc[first:end]
