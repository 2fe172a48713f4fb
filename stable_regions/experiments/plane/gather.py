"""Gather shards of planes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stable_regions.experiments.raw import Raw


def gather(shards: Sequence[Raw], prompts: pd.DataFrame) -> Raw:
    """Concatenate raw planes of one model, triple by triple: arrays, and their metadata."""
    arrays, facts = shards[0]
    whole = {
        name: value
        if name == "axis"
        else np.concatenate([part[name] for part, _ in shards], axis=0 if name == "tokens" else 1)
        for name, value in arrays.items()
    }
    texts = [text for _, part in shards for text in part["texts"]]
    tokens = {token: text for _, part in shards for token, text in part["token_texts"].items()}
    return whole, {**facts, "texts": texts, "token_texts": tokens}
