"""Locks of the runs in a folder, which the system releases when a process ends, even if killed.

Snakemake's own lock files survive a run that is killed, and two runs that start at the same moment
may both look for lock files before either writes its own. So runs plan one after the other, and a
run that finds no other run removes stale lock files.

Without this, a run after a kill fails with "Directory cannot be locked" until somebody types
--unlock; done while a job of the killed run still writes, two jobs write the same files.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stable_regions.base.progress import log

RUNNING, PLANNING, SNAKEMAKE_LOCKS = "at-work.lock", "planning.lock", "locks"


def hold(folder: Path) -> bool:
    """Hold the folder's lock until this process ends; return whether nobody else holds it.

    Raises
    ------
    OSError
        The folder is not there, or can't be locked.
    """
    lock = os.open(folder / RUNNING, os.O_RDWR | os.O_CREAT, 0o666)  # open until the end
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    fcntl.flock(lock, fcntl.LOCK_SH)
    return alone


def start_run(folder: Path) -> Callable[[], None]:
    """Start a run in Snakemake's folder: wait while others plan, remove stale locks of killed runs.

    On a disk without such locks nothing is removed, and Snakemake's own lock files apply.

    Returns
    -------
    A function to call once Snakemake holds its own lock files; the end of the run does the same.
    """
    try:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / PLANNING, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("Another run is planning its work in this folder: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if hold(folder):
            shutil.rmtree(folder / SNAKEMAKE_LOCKS, ignore_errors=True)
    except OSError:
        return lambda: None
    return lambda: os.close(lock)
