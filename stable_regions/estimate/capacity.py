"""Capacity of this machine: disk for a study's files, memory for its largest job."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from stable_regions.base.errors import UserError
from stable_regions.base.progress import amount

# Where a container says how many bytes of memory it has; "max" where nobody has set a limit.
LIMIT = Path("/sys/fs/cgroup/memory.max")


def memory_here() -> int:
    """Bytes of memory of this machine, or of the container that this is."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = LIMIT.read_text(encoding="utf-8").strip() if LIMIT.is_file() else "max"
    return installed if limit == "max" else min(installed, int(limit))


def bytes_below(folders: Iterable[str | Path]) -> int:
    """Bytes of all files below some folders; missing folders count nothing.

    What a link leads to lies elsewhere and does not count.
    """
    files = (path for folder in folders for path in Path(folder).rglob("*"))
    return sum(path.lstat().st_size for path in files if not path.is_dir())


def check_disk(needed: int, existing: int) -> None:
    """UserError unless the disk here can hold `needed` bytes, less `existing` ones."""
    free, missing = shutil.disk_usage(".").free, needed - existing
    if missing > free:
        raise UserError(
            f"the disk is too small: the study needs {amount(missing, 'B')} more, and "
            f"{amount(free, 'B')} are free here (`snakemake --directory` puts it elsewhere)"
        )


def check_memory(needed: int) -> None:
    """UserError unless this machine has `needed` bytes of memory."""
    here = memory_here()
    if needed > here:
        raise UserError(
            f"the memory is too small: the study's largest job needs {amount(needed, 'B')}, and "
            f"this machine has {amount(here, 'B')}"
        )
