"""What every script shares: logging to its file and the screen, errors as one line."""

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# To hand over the object `snakemake`, Snakemake adds its own path to that of another interpreter.
# What a conda environment lacks must not come from there, nor from the user's own packages.
SCRIPTS = Path(__file__).resolve().parent
if Path(sys.prefix, "conda-meta").is_dir():
    sys.path[:] = [path for path in sys.path if Path(path).is_relative_to(sys.prefix)]
# In whatever environment a script runs, the library and what scripts share are the checkout's. The
# scripts come last: one of them may be called as a module that a library imports.
sys.path.insert(0, str(SCRIPTS.parent))
sys.path.append(str(SCRIPTS))
# Progress is one line every few seconds, ours; the libraries' bars would bury it.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Run a script's work: progress goes to the log file and the screen, errors are one line.

    What was done is recorded beside the log. The traceback of an error that is not the user's
    mistake is in the log file alone.
    """
    from stable_regions.audit.records import check_inputs, uptime, write_record
    from stable_regions.audit.run_lock import hold

    # after the path is set
    from stable_regions.base.errors import UserError, first_line, is_disk_full, printable
    from stable_regions.base.redact import redact

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    class RedactingFormatter(Printable):
        def format(self, record: logging.LogRecord) -> str:
            return redact(super().format(record))

    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal's encoding lacks is escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    began = uptime()
    path = Path(str(snakemake.log[0]))
    log = logging.getLogger("stable_regions")
    log.setLevel(logging.INFO)
    log.propagate = False
    path.unlink(missing_ok=True)
    to_file = logging.FileHandler(path, mode="a", encoding="utf-8")  # a traceback goes there too
    to_file.setFormatter(RedactingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    to_screen = logging.StreamHandler()
    to_screen.setFormatter(Printable(f"[{snakemake.rule}] %(message)s"))
    log.addHandler(to_file)
    if snakemake.output and "STABLE_REGIONS_WATCHED" in os.environ:  # a run shows what logs hold
        to_screen.setLevel(logging.ERROR)
    log.addHandler(to_screen)
    logging.raiseExceptions = False  # a full disk is reported once, below
    with suppress(OSError):  # a disk without locks
        hold(Path(".snakemake"))
    try:
        read = check_inputs(snakemake.input, Path("logs"))
        yield log
        if snakemake.output:
            script = Path(sys.modules["__main__"].__file__ or "")
            write_record(snakemake, script, began, read)
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except Exception as error:
        if is_disk_full(error):
            where = getattr(error, "filename", None) or next(iter(snakemake.output), path)
            log.error("error: disk full while writing %s: free some space and run again", where)
            sys.exit(1)
        with path.open("a", encoding="utf-8") as file:
            file.write(redact(printable(traceback.format_exc())))
        what = type(error).__name__
        log.error("error: %s: %s (traceback in %s)", what, first_line(error), path)
        sys.exit(1)
