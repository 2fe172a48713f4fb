"""Blocks of rows of a matrix of distances between prompts."""

from itertools import pairwise

import numpy as np
import pandas as pd

from stable_regions.base.errors import UserError


def by_context(prompts: pd.DataFrame) -> list[np.ndarray]:
    """Indices of the prompts of each context; one group if the table has no contexts."""
    context = prompts["context"].to_numpy() if "context" in prompts else np.zeros(len(prompts))
    groups = [np.flatnonzero(context == name) for name in pd.unique(pd.Series(context))]
    if len({len(group) for group in groups}) > 1:
        raise UserError(
            "prompts: the contexts have different numbers of prompts; as many are right"
        )
    return groups


def row_blocks(prompts: pd.DataFrame, blocks: int) -> list[tuple[int, int]]:
    """Cut the prompts into blocks of consecutive rows with about as many pairs each.

    A prompt's row are its pairs with those after it in its context, so early rows are longer.

    Returns
    -------
    First prompt of each block, and the one after its last.

    Raises
    ------
    UserError
        More blocks than there are rows to fill them with.
    """
    count = len(prompts)
    if blocks > count:
        raise UserError(f"{count} prompts cannot be cut into {blocks} blocks of rows; take fewer")
    pairs = np.concatenate([np.arange(len(group), 0, -1) for group in by_context(prompts)])
    done = np.cumsum(pairs) / pairs.sum()
    ends = [0]
    for block in range(1, blocks + 1):
        end = int(np.searchsorted(done, block / blocks - 1e-9)) + 1
        ends.append(min(max(end, ends[-1] + 1), count - blocks + block))
    return list(pairwise(ends))
