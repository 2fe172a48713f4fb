"""The ledger of deviations from the paper or its code, with their measured effects."""

from collections.abc import Mapping, Sequence

import pandas as pd

from stable_regions.base.errors import UserError
from stable_regions.paper.claims import select_rows
from stable_regions.paper.ledger import Deviation


def tabulate(deviations: Sequence[Deviation], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a deviation and a model that its effect is measured on.

    Without a model where the effect is not measured: there is a `reason`, or the study doesn't have
    the table, the row, or a number in it.

    Raises
    ------
    UserError
        A table lacks a column that an effect names.
    """
    rows = []
    for entry in deviations:
        row = entry.model_dump(exclude={"id", "effect", "models_from", "texts_from"})
        row = {"deviation": entry.id, **row, "number": entry.effect and entry.effect.number}
        cells = _cells(entry, tables) or [{}]
        rows += [{**row, **cell} for cell in cells]
    columns = [
        "deviation", "of", "theirs", "ours", "number", "model", "pairs", "value", "low", "high",
        "reason",
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=columns).astype({"pairs": "Int64"})


def _cells(entry: Deviation, tables: Mapping[str, pd.DataFrame]) -> list[dict]:
    cell = entry.effect
    if cell is None or cell.table not in tables:
        return []
    table, ends = tables[cell.table], cell.interval or []
    for column in [*cell.where, cell.value, *ends]:
        if column not in table:
            raise UserError(f"deviation {entry.id}: {cell.table} has no column {column!r}")
    rows = select_rows(table, cell.where)
    rows = rows[rows[cell.value].notna()]
    return [
        {"model": row["model"], "pairs": row.get("pairs"), "value": row[cell.value]}
        | dict(zip(("low", "high"), (row[end] for end in ends), strict=False))
        for row in rows.to_dict("records")
    ]
