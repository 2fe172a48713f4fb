"""How Snakemake starts scripts on this machine: each forks from a process that has its libraries.

Without this a script takes up to eight seconds to import them: all in all, a third of the study
`glance`. There is one such process for each environment, by conda too. In a container, and on a
cluster, where each job has a Snakemake of its own, that starts its script.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from snakemake.benchmark import BenchmarkRecord, benchmarked
from snakemake.deployment.conda import Conda
from snakemake.logging import logger
from snakemake.script import PythonScript

from stable_regions.base.forking import FORKS, Server

# First what sets what libraries read when they are imported.
ALWAYS = [
    "scripts._job", "stable_regions.base.files", "stable_regions.audit.records",
    "snakemake.iocontainers", "snakemake.logging",
]  # fmt: skip
# What scripts import beside it, by the environment of their rule; of others there are few.
OF_ENVIRONMENT = {
    "clustering": ["stable_regions.measures.clusters"],
    "figures": ["stable_regions.figures.style"],
    "model": ["stable_regions.models.huggingface", "stable_regions.models.hooked"],
}
# The same of rules that need less than their environment has: a record names what was imported.
OF_RULE = {"prompts": ["stable_regions.prompts.words"]}
# What a job frees it keeps (mallopt(3); of no effect but with glibc): a training that is given the
# same memory anew for each step, cleared, spends up to a fifth of its time on that.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
# What Snakemake hides from conda's programs, since it names packages of others.
FOREIGN = {"R_LIBS", "PYTHONPATH", "PERLLIB", "PERL5LIB"}


def forks(workflow: Any) -> bool:
    """Whether the scripts of a workflow are started so."""
    return FORKS and workflow.local_exec


def by_conda(modules: list[str], base: str | None, environment: str) -> Server:
    """A server with the Python of a conda environment, activated as Snakemake does it."""
    line = Conda(prefix_path=base).shellcmd(environment, 'exec python "$@"')
    known = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return Server(modules, ["bash", "-ec", line, "python"], known)


@contextmanager
def measured(pid: int, record: BenchmarkRecord) -> Iterator[None]:
    """Measure a process as Snakemake does, but its time on a clock that nobody sets."""
    began = time.monotonic()
    with benchmarked(pid, record):
        yield
    record.running_time = time.monotonic() - began


def let_scripts_fork(workflow: Any) -> None:
    """Have Snakemake start them so."""
    servers: dict[tuple[str | None, ...], Server] = {}
    start_alone = PythonScript.execute_script

    def server_of(script: Any) -> Server | None:
        rule = workflow.get_rule(script.rulename)
        environment, place = Path(rule.conda_env or "").stem, script.conda_env
        some = OF_RULE.get(rule.name) or OF_ENVIRONMENT.get(environment)
        if some is None or script.container_img or script.env_modules:
            return None
        modules = [*ALWAYS, *some]
        if place is None:
            made = Server(modules)
        elif Path(place, "bin", "python").exists():
            logger.info(f"Activating conda environment: {os.path.relpath(place)}")
            made = by_conda(modules, script.conda_base_path, place)
        else:
            return None
        return servers.setdefault((place, *modules), made)  # it starts with its first script

    def execute_script(self: Any, path: str, edit: bool = False) -> None:
        server = None if edit else server_of(self)
        if server is None:
            start_alone(self, path, edit)
            return
        changes = {f"{name}_NUM_THREADS": str(self.threads) for name in THREADS}
        if place := self.resources.get("tmpdir"):
            changes |= dict.fromkeys(("TMPDIR", "TMP", "TEMPDIR", "TEMP"), str(place))
        with ExitStack() as stack:

            def measure(pid: int) -> None:
                if self.bench_record is not None:
                    stack.enter_context(measured(pid, self.bench_record))

            status = server.run(path, changes, self.threads, measure)
        if status:
            raise subprocess.CalledProcessError(status, f"{sys.executable} {path}")

    PythonScript.execute_script = execute_script
