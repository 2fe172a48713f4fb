"""A Slurm for tests: the one that runs here, or one of a single node that is started.

The environment's `CI_SLURM` names the folder of what starts and stops it, `start.sh` and `stop.sh`.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import tiny_study
from tests.tiny_study import ROOT

STARTER = os.environ.get("CI_SLURM")
ALIKE = 3  # jobs that share an entry
# What is about a small Slurm without accounting, and a test's patience; not for users.
OPTIONS = [
    "--workflow-profile", str(ROOT / "profiles" / "slurm"), "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10",
    # Fewer alike than the profile has, so that there are two entries.
    "--group-components", f"alike={ALIKE}", "prompts=20", "tables=20", "clusters=20",
]  # fmt: skip


def command(folder: Path, *arguments: str) -> list[str]:
    """Snakemake in a folder, through Slurm, whose queue it looks at every second."""
    python, _, _, *rest = tiny_study.command(folder, *OPTIONS, *arguments)
    return [python, "-P", str(ROOT / "tests" / "eager_slurm.py"), *rest]


def answers() -> bool:
    """Whether a Slurm runs here."""
    result = shutil.which("sinfo")
    return result is not None and subprocess.run([result], capture_output=True).returncode == 0


def missing() -> str | None:
    """Why there can be none here."""
    if shutil.which("sbatch") is None or shutil.which("munged") is None:
        return "no Slurm here: sbatch and munged (Debian: slurm-wlm, munge) are not on PATH"
    if (STARTER and os.geteuid() == 0) or answers():
        return None
    return "no Slurm runs here; root, and CI_SLURM in the environment, can start one"


@contextmanager
def running() -> Iterator[None]:
    """Start one if none answers, and stop it at the end.

    Where it is installed and none runs, every start of Snakemake waits nine seconds for an answer.
    Its state is in a folder of its own: a Slurm that finds the state of one that was killed first
    runs the jobs that were then in its queue.
    """
    if answers():
        yield
        return
    assert STARTER
    # `nproc`, by which it counts cores, obeys OMP_NUM_THREADS
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    start, stop = f"{STARTER}/start.sh", f"{STARTER}/stop.sh"
    with TemporaryDirectory(prefix="slurm-") as state:
        environment["SLURM_TEST_STATE"] = state
        try:
            started = subprocess.run([start], env=environment, capture_output=True, text=True)
            assert started.returncode == 0, started.stderr
            yield
        finally:
            daemons = [int(file.read_text()) for file in Path(state).glob("*.pid")]
            subprocess.run([stop], env=environment, check=True)
            # They write their state once more as they end.
            until = time.monotonic() + 30
            while any(Path(f"/proc/{pid}").exists() for pid in daemons):
                assert time.monotonic() < until, f"Slurm goes on: {daemons}"
                time.sleep(0.1)
