"""One clean pass over a set of prompts: what every later stage starts from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.models.model import Model
from stable_regions.models.sweep import batch_rows, clean
from stable_regions.prompts.draw import Tokens, by_length

SITES = ("pre_norm", "post_norm", "logits")


def cache(
    model: Model, tokens: Sequence[Tokens], layers: Sequence[int], *, budget: int
) -> dict[str, Tensor]:
    """Activations and outputs at the last position of each prompt, on the CPU.

    Of the logits only the top token is kept, so memory holds those of one batch at most.

    Returns
    -------
    `resid.N` `[prompt, d]` for each of the layers, `pre_norm` and `post_norm` `[prompt, d]`,
    and `top_token` `[prompt]`, the most likely next token.
    """
    progress = Progress("activations", len(tokens), "prompts")
    result: dict[str, Tensor] = {}
    sites = [*(f"resid.{layer}" for layer in layers), *SITES]
    for index, array in by_length(tokens):
        step = batch_rows(model, k=1, seq=array.shape[1], sites=sites, budget=budget)
        for which, some in zip(
            torch.from_numpy(index).split(step), torch.from_numpy(array).split(step), strict=True
        ):
            vectors = clean(model, some, layers, sites=SITES, budget=budget)
            vectors["top_token"] = vectors.pop("logits").argmax(-1)
            for site, value in vectors.items():
                whole = result.setdefault(
                    site, torch.empty(len(tokens), *value.shape[1:], dtype=value.dtype)
                )
                whole[which] = value.cpu()
            progress.advance(len(some))
    return result
