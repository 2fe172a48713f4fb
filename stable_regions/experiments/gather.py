"""Shards of a raw output put together, where it is a table; other kinds have a `gather.py`."""

from collections.abc import Sequence

import pandas as pd

from stable_regions.experiments.raw import Raw


def gather(shards: Sequence[Raw], prompts: pd.DataFrame) -> Raw:
    """Put the rows of all shards under each other, with the record of the first."""
    return pd.concat([table for table, _ in shards], ignore_index=True), shards[0][1]
