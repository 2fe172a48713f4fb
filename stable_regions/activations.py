"""One clean pass over a set of prompts: what every later stage starts from."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from stable_regions.engine import clean
from stable_regions.model import Model
from stable_regions.progress import Progress

# Prompts a step: the logits of so many are held at once, the top tokens alone are kept.
STEP = 256


def cache(
    model: Model, tokens: Int[Tensor, "prompt seq"], layers: Sequence[int], *, budget: int
) -> dict[str, Tensor]:
    """Activations and outputs at the last position of each prompt, on the CPU.

    Returns
    -------
    `resid.N` `[prompt, d]` for each of the layers, `pre_norm` and `post_norm` `[prompt, d]`,
    and `top_token` `[prompt]`, the most likely next token.
    """
    progress = Progress("activations", len(tokens), "prompts")
    parts: list[dict[str, Tensor]] = []
    for some in tokens.split(STEP):
        found = clean(model, some, layers, sites=("pre_norm", "post_norm", "logits"), budget=budget)
        found["top_token"] = found.pop("logits").argmax(-1)
        parts.append({site: value.cpu() for site, value in found.items()})
        progress.advance(len(some))
    return {site: torch.cat([part[site] for part in parts]) for site in parts[0]}
