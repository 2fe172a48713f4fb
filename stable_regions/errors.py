"""The one exception that means "the user can mend this", and what is kept of others' words."""

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """A mistake in the input: one line with the place, what it holds, and what would be right."""


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line of at most 200 characters."""
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(text.splitlines()[0], 200, placeholder=" ...")


# As a script writes it into its log, or Slurm into that of a job that it ends.
TOLD = re.compile(r"^(?:\d\d:\d\d:\d\d |slurmstepd[^:]*: )(error: .*)$", re.MULTILINE)


def told_in(folders: Iterable[Path], since: float) -> list[str]:
    """The last error that each log below these folders tells of, if it was written since a time."""
    logs = [log for folder in folders for log in sorted(folder.rglob("*.log"))]
    new = [(log, log.read_text(errors="replace")) for log in logs if log.stat().st_mtime >= since]
    return [f"{log}: {errors[-1]}" for log, text in new if (errors := TOLD.findall(text))]
