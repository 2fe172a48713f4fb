"""The numbers of the paper: every table it quotes, as one tree of names."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def tree(table: pd.DataFrame, keys: list[str]) -> dict[str, Any]:
    """A table as nested dictionaries: one level a key column, then column -> value.

    Missing values are None: JSON has no NaN.
    """
    result: dict[str, Any] = {}
    for row in table.to_dict("records"):
        level = result
        for key in keys:
            level = level.setdefault(str(row[key]), {})
        level |= {
            str(name): None if pd.isna(value) else value
            for name, value in row.items()
            if name not in keys
        }
    return result


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as a list of rows; missing values are None."""
    return [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]


def collect(
    tables: Mapping[str, pd.DataFrame],
    pairs: Mapping[str, pd.DataFrame],
    models: pd.DataFrame,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """All numbers: `tables.<experiment>.<model>.<layer>.<read site>.<column>`, pairs, models, facts.

    Parameters
    ----------
    tables
        Sharpness tables by experiment.
    pairs
        Tables with one row a pair, by experiment: of those experiments whose pairs have names.
    """
    keys = ["model", "layer", "read_site"]
    return {
        **facts,
        "models": records(models),
        "pairs": {name: records(table) for name, table in pairs.items()},
        "tables": {name: tree(table, keys) for name, table in tables.items()},
    }
