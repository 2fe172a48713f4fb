"""The times of files tell what was made after what, even if the machine's clock is set back.

Snakemake fails a job whose files come out older than what it read, and makes a file again only if
one that it is made from is newer. With a clock that was set back the one would lose finished work,
and the other would keep a file that was made from what is no more.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LATEST = Path(".snakemake", "latest")  # its own time is when a job last ended
STEP = 2.0  # seconds: times on the coarsest file systems


def time_for(made: Sequence[float], read: Sequence[float]) -> float | None:
    """The time to give files that were just made; None if theirs will do.

    Parameters
    ----------
    made, read
        Their times, and of what they were made from.
    """
    now, newest = time.time(), max(read, default=0.0)
    latest = LATEST.stat().st_mtime if LATEST.exists() else 0.0
    given = max(latest, newest) + STEP if now < latest or min(made) < newest else None
    # in place of one that may be another user's; jobs of several machines may end at once
    handle, mark = tempfile.mkstemp(prefix="latest.", dir=LATEST.parent)
    os.close(handle)
    os.utime(mark, (given or now, given or now))
    os.replace(mark, LATEST)
    return given


def keep_order(dag: Any) -> None:
    """Have Snakemake, whose class `DAG` this is, give such times to what a job has made."""
    check_and_touch = dag.check_and_touch_output

    async def check_and_order(self: Any, job: Any, *args: Any, **options: Any) -> None:
        await check_and_touch(self, job, *args, **options | {"check_output_mtime": False})
        outputs = [*job.output, *filter(None, [job.benchmark])]
        outputs = [path for path in outputs if await path.exists_local()]
        if not outputs:
            return
        made = [(await path.mtime_uncached()).local() for path in outputs]
        inputs = [path for path in job.input if await path.exists_local()]
        read = [(await path.mtime_uncached()).local(follow_symlinks=True) for path in inputs]
        # a script that is newer than what it made would be run again
        read += [path.stat().st_mtime for path in Path(__file__).parent.glob("*.py")]
        if given := time_for(made, read):
            for path in outputs:
                path.touch((given, given))

    dag.check_and_touch_output = check_and_order
