"""Gather blocks of rows of the distances between prompts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stable_regions.experiments.pairwise.blocks import by_context
from stable_regions.experiments.raw import Raw


def gather(shards: Sequence[Raw], prompts: pd.DataFrame) -> Raw:
    """Concatenate the blocks of `pairwise_arrays`, context by context.

    Returns
    -------
    `directed_<site>` and `input` `[layer, context, n, n]`, `states` and `geometry.N`
    `[context, n, n]`;
    `distance_<site>` `[layer, context, pair, step]`, `step_<site>` with a step less, pairs in the
    order of the upper triangle; `top_token` `[context x n]`; the fine pairs as they are.
    """
    blocks = [arrays for arrays, _ in shards]
    contexts = len(by_context(prompts))
    whole = {}
    for name in blocks[0]:
        is_square = name == "states" or name.startswith("geometry")
        is_shared = is_square or name in ("fine_pair", "top_token")
        value = np.concatenate([block[name] for block in blocks], axis=0 if is_shared else 1)
        if is_square:
            value = value.reshape(contexts, -1, *value.shape[1:])
        elif not is_shared and not name.startswith("fine"):
            value = value.reshape(len(value), contexts, -1, *value.shape[2:])
        whole[name] = value
    return whole, shards[0][1]
