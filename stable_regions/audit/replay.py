"""Rerun a recorded job: the same script on the same inputs, with outputs elsewhere."""

import errno
import importlib
import logging
import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stable_regions.audit.records import ROOT, resolve_recorded_path
from stable_regions.base.errors import is_disk_full

Job = Mapping[str, Any]
# What takes longest to import, once for all the processes that are split off from this one.
SHARED = ("seaborn", "hdbscan")


class NamedItems(list):
    """Files, parameters or wildcards as a script sees them: a list with named parts.

    Parameters
    ----------
    names
        The place of each named part: its first item, and the one after its last, or None for a
        part that is a single item.
    """

    def __init__(self, items: Sequence[Any], names: Mapping[str, Sequence[int | None]]) -> None:
        super().__init__(items)
        self._names = names
        for name, (start, end) in names.items():
            assert start is not None
            setattr(self, name, self[start] if end is None else NamedItems(self[start:end], {}))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "NamedItems":
        """All values named."""
        return cls(list(values.values()), {name: (i, None) for i, name in enumerate(values)})

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)

    def get(self, name: str, default: Any = None) -> Any:
        """A named part, or what is given in its place."""
        return getattr(self, name) if name in self._names else default

    def items(self) -> Iterator[tuple[str, Any]]:
        """The named parts."""
        return ((name, getattr(self, name)) for name in self._names)


def outputs(job: Job, folder: Path) -> dict[str, Path]:
    """The path of each output of a job that is rerun in `folder`."""
    return {file["path"]: folder / file["path"] for file in job["output"]["files"]}


def run(job: Job, folder: Path, log: Path) -> None:
    """Rerun a job in this process; a script that fails raises SystemExit.

    Parameters
    ----------
    folder
        Its outputs are put below this.
    log
        Its log file. Its record is put beside it.
    """
    files = outputs(job, folder)
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    script = ROOT / job["script"]
    sys.path.insert(0, str(script.parent))
    stand_in = SimpleNamespace(
        rule=job["rule"],
        input=NamedItems(
            [str(resolve_recorded_path(f["path"])) for f in job["input"]["files"]],
            job["input"]["names"],
        ),
        output=NamedItems([str(path) for path in files.values()], job["output"]["names"]),
        params=NamedItems.of(job["params"]),
        wildcards=NamedItems.of(job["wildcards"]),
        threads=job["threads"],
        log=[str(log)],
    )
    runpy.run_path(str(script), init_globals={"snakemake": stand_in}, run_name="__main__")


def _run(folder: Path, job: Job) -> str | None:
    """Rerun a job in its own process; one line if it fails.

    Raises
    ------
    OSError
        The disk is full, which says nothing of the job.
    """
    log = folder / f"{os.getpid()}.log"
    logging.getLogger("stable_regions").handlers.clear()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    try:
        run(job, folder, log)
    except BaseException as error:
        if is_disk_full(error.__context__ or error):  # a script's exit comes of its error
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return next((line for line in reversed(lines) if "error: " in line), repr(error))
    return None


def replay(jobs: Sequence[Job], folder: Path, processes: int) -> Iterator[tuple[Job, str | None]]:
    """Rerun jobs, each in its own process, a number of them at a time.

    Yields
    ------
    Each job in turn, and the line that it failed with, or None.
    """
    for name in SHARED:
        importlib.import_module(name)
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, maxtasksperchild=1) as pool:
        yield from zip(jobs, pool.imap(partial(_run, folder), jobs, chunksize=1), strict=True)
