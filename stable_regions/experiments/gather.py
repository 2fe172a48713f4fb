"""Gather the shards of a raw output that is a table; kinds with arrays have a `gather.py`."""

from collections.abc import Sequence

import pandas as pd

from stable_regions.experiments.raw import Raw


def gather(shards: Sequence[Raw], prompts: pd.DataFrame) -> Raw:
    """Concatenate the rows of all shards, with the record of the first."""
    return pd.concat([table for table, _ in shards], ignore_index=True), shards[0][1]
