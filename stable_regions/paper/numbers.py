"""The numbers of the paper: every table it quotes, as one tree of names."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from stable_regions.measures import boundaries, conventions
from stable_regions.measures.distances import DISTANCES

# Facts about the original that the text needs: its models on the hub, those of them that it follows
# through training, and its later write layer.
ORIGINAL = {
    "models": [
        "allenai/OLMo-1B-0724-hf", "allenai/OLMo-7B-0724-hf", "Qwen/Qwen2-0.5B",
        "Qwen/Qwen2-1.5B", "Qwen/Qwen2-7B",
    ],
    "followed": ["allenai/OLMo-1B-0724-hf", "allenai/OLMo-7B-0724-hf"],
    "late_layer": 6,
}  # fmt: skip


def constants() -> dict[str, Any]:
    """The numbers that the code fixes and the text quotes."""
    return {
        "boundary": boundaries.MAIN,
        "speed": boundaries.SPEED,
        "rise": boundaries.RISE,
        "window": boundaries.WINDOW,
        "low": conventions.LOW,
        "high": conventions.HIGH,
        "whiskers": list(conventions.WHISKERS),
        "losses": conventions.SMOOTHED,
        "distances": {
            name: {key: getattr(each, key) for key in ("label", "text", "short", "quadratic")}
            for name, each in DISTANCES.items()
        },
        "named": conventions.NAMED,
        "original": ORIGINAL,
    }


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


def rows_as_dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as a list of rows; missing values are None."""
    return [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]


def collect(
    tables: Mapping[str, tuple[pd.DataFrame, list[str]]],
    models: pd.DataFrame,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """All numbers under one root: `tables.<table>`, `models`, and the facts given.

    Parameters
    ----------
    tables
        Each table with its key columns, by which its values are looked up
        (`tables.sharpness.<model>.<layer>.<read site>.median`); without keys it is a list of rows.
    """
    return {
        **facts,
        "models": rows_as_dicts(models),
        "tables": {
            name: tree(table, keys) if keys else rows_as_dicts(table)
            for name, (table, keys) in tables.items()
        },
    }
