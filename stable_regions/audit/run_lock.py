"""Locks of the runs in a folder, which the system releases when a process ends, even if killed.

Snakemake notes in files what a run makes. The notes outlive a run that is killed, and two runs that
start at one moment may both look for notes before either writes its own. So runs plan one after
the other, and one that finds nobody at work removes the notes of the dead.

Without this a run that follows a kill ends with "Directory cannot be locked", until somebody types
--unlock; and who types it while a job of the dead run still writes has two jobs on the same files.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stable_regions.base.progress import log

RUNNING, PLANNING, NOTES = "at-work.lock", "planning.lock", "locks"


def hold(folder: Path) -> bool:
    """Hold the folder's lock until this process ends; return whether nobody else holds it.

    Raises
    ------
    OSError
        The folder is not there, or can't be locked.
    """
    place = os.open(folder / RUNNING, os.O_RDWR | os.O_CREAT, 0o666)  # open until the end
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    fcntl.flock(place, fcntl.LOCK_SH)
    return alone


def start_run(folder: Path) -> Callable[[], None]:
    """Start a run in Snakemake's folder: wait while others plan, remove stale locks of killed runs.

    On a disk without such locks nothing is removed, and Snakemake's notes alone keep runs apart.

    Returns
    -------
    What to call when the run has noted what it makes; its end does the same.
    """
    try:
        folder.mkdir(exist_ok=True)
        place = os.open(folder / PLANNING, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("Another run is planning its work in this folder: waiting for it")
            fcntl.flock(place, fcntl.LOCK_EX)
        if hold(folder):
            shutil.rmtree(folder / NOTES, ignore_errors=True)
    except OSError:
        return lambda: None
    return lambda: os.close(place)
