"""Capacity of this machine: disk for a study's files, memory for its largest job."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from stable_regions.base.errors import UserError, is_disk_full
from stable_regions.base.progress import amount

# Where Linux says which control groups this process is in, and what each may have.
OWN = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def memory_here() -> int:
    """Bytes of memory of this machine, or of the container or control group that this runs in."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *_limits()])


def _limits() -> Iterator[int]:
    """Limits of the control groups around this process, of both versions; from within a container
    its own group may be the root of what is seen.
    """
    places = {(GROUPS, "memory.max"), (GROUPS / "memory", "memory.limit_in_bytes")}
    own = OWN.read_text(encoding="utf-8").splitlines() if OWN.is_file() else []
    for line in own:
        _, controllers, group = line.split(":", 2)
        for path in [Path(group), *Path(group).parents]:
            below = path.as_posix().lstrip("/")
            if controllers == "":
                places.add((GROUPS / below, "memory.max"))
            elif "memory" in controllers.split(","):
                places.add((GROUPS / "memory" / below, "memory.limit_in_bytes"))
    for folder, name in places:
        try:
            yield int((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, not to be read, or "max": no limit
            continue


def bytes_below(folders: Iterable[str | Path]) -> int:
    """Bytes of all files below some folders; missing folders count nothing.

    What a link leads to lies elsewhere and does not count.
    """
    files = (path for folder in folders for path in Path(folder).rglob("*"))
    return sum(path.lstat().st_size for path in files if not path.is_dir())


def check_not_full(folder: Path) -> None:
    """UserError if there is no room for what Snakemake writes for itself."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(10**5))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:  # other errors have lines of their own
        if is_disk_full(error):
            raise UserError(
                "the disk is full: free some space here (`snakemake --directory` uses another)"
            ) from None


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
