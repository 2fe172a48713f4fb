"""One clean pass over a set of prompts: what every later stage starts from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stable_regions.engine import clean
from stable_regions.model import Model
from stable_regions.progress import Progress
from stable_regions.prompts import by_length

# Prompts a step: the logits of so many are held at once, the top tokens alone are kept.
STEP = 256


def cache(
    model: Model, tokens: Sequence[Sequence[int]], layers: Sequence[int], *, budget: int
) -> dict[str, Tensor]:
    """Activations and outputs at the last position of each prompt, on the CPU.

    Returns
    -------
    `resid.N` `[prompt, d]` for each of the layers, `pre_norm` and `post_norm` `[prompt, d]`,
    and `top_token` `[prompt]`, the most likely next token.
    """
    progress = Progress("activations", len(tokens), "prompts")
    result: dict[str, Tensor] = {}
    for index, array in by_length(tokens):
        for which, some in zip(
            torch.from_numpy(index).split(STEP), torch.from_numpy(array).split(STEP), strict=True
        ):
            found = clean(
                model, some, layers, sites=("pre_norm", "post_norm", "logits"), budget=budget
            )
            found["top_token"] = found.pop("logits").argmax(-1)
            for site, value in found.items():
                whole = result.setdefault(
                    site, torch.empty(len(tokens), *value.shape[1:], dtype=value.dtype)
                )
                whole[which] = value.cpu()
            progress.advance(len(some))
    return result
