"""The exception for errors that the user can fix, and one-line forms of other errors."""

import errno
import os
import re
import reprlib
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

WIDEST = 60  # characters of a value in an error
LONGEST = 2000  # of an error
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = WIDEST


def printable(text: str) -> str:
    """A text of any origin for a terminal: what it can't print, or would obey, is escaped."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class UserError(ValueError):
    """A mistake in the input: one line with the place, the value, and what to do.

    One line whatever the input holds: line breaks become spaces, and what a terminal can't print,
    or would obey, is escaped.
    """

    def __init__(self, text: str) -> None:
        line = printable(" ".join(text.splitlines()))
        # a name may be of any length; what is wrong is said first, and what to do last
        super().__init__(line if len(line) <= LONGEST else f"{line[:1000]} ... {line[-500:]}")


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line of at most 200 characters.

    Its first line, and the next where the first ends in a colon.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    message = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return textwrap.shorten(message, 200, placeholder=" ...")


def short(value: Any) -> str:
    """A value as Python writes it, at most 60 characters of it."""
    try:
        text = _repr.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = f"a number of {value.bit_length()} bits"
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


# As a script writes it into its log, or Slurm into that of a job that it ends. Where there is none
# of these, what Python writes of a script that could not begin, and Snakemake of one that crashed.
ERROR_LINES = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^(?:\d\d:\d\d:\d\d |slurmstepd[^:]*: )error: (.*)$",
        r"^(?:Traceback \(most recent call last\):|  File \".*\", line \d+)\n(?:[ \t].*\n)+(\S.*)$",
        r"^Command '.*' (died with <Signals\.\w+: \d+>|returned non-zero exit status 1[3-9]\d)",
    )
]


def log_times(folders: Iterable[Path]) -> dict[Path, int]:
    """The time of each log below these folders."""
    logs = (log for folder in folders for log in sorted(folder.rglob("*.log")))
    return {log: log.stat().st_mtime_ns for log in logs}


def errors_since(folders: Iterable[Path], before: Mapping[Path, int]) -> list[str]:
    """The last error in each log below these folders that was written after `log_times` was asked.

    That is told by other times than before, as the clock may be set back, or be another machine's.
    """
    new = [
        (log, log.read_text(encoding="utf-8", errors="replace"))
        for log, time in log_times(folders).items()
        if time != before.get(log)
    ]
    errors_of_logs = (
        (log, next(filter(None, (way.findall(text) for way in ERROR_LINES)), []))
        for log, text in new
    )
    return [f"{log}: error: {errors[-1]}" for log, errors in errors_of_logs if errors]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of any library, says that the disk is full or a quota exceeded."""
    return any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
