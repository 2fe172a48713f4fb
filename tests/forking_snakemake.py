"""Snakemake whose jobs fork from it: it has imported once what each would take seconds to import.

For studies of which a test reads no record: each of their jobs has all the libraries loaded, and
says so. The tiny study is run as users run theirs.
"""

import gc
import os
import runpy
import signal
import sys
import traceback

import hdbscan
import matplotlib.pyplot
import pyarrow.parquet
import seaborn
import transformer_lens
from snakemake.benchmark import benchmarked
from snakemake.cli import main
from snakemake.script import PythonScript
from transformers import AutoModelForCausalLM

IMPORTED = (
    hdbscan,
    matplotlib.pyplot,
    pyarrow.parquet,
    seaborn,
    transformer_lens,
    AutoModelForCausalLM,
)


def run(script: str) -> int:
    """Run a script in this process, and give the status with which it ends."""
    # Snakemake's own handlers would let a process that a script starts survive its being ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [script]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return int(bool(end.code))
    except BaseException:  # it is to end here, whatever it was
        traceback.print_exc()
        return 1
    return 0


def execute_script(job: PythonScript, script: str, edit: bool = False) -> None:
    """Run a job's script in a process that is forked from this one."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            status = run(script)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # the child is not to go on as another Snakemake
            os._exit(status)
    with benchmarked(child, job.bench_record):
        _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"{script} ended with {os.waitstatus_to_exitcode(status)}")


PythonScript.execute_script = execute_script
gc.freeze()
sys.exit(main())
