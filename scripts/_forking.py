"""How Snakemake starts scripts on this machine: each forks from a process that has its libraries.

Without this a script takes up to eight seconds to import them: all in all, a third of the study
`glance`. With conda, in a container or on a cluster Snakemake starts them by itself.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from snakemake.benchmark import BenchmarkRecord, benchmarked
from snakemake.script import PythonScript
from snakemake_interface_executor_plugins.settings import DeploymentMethod

from stable_regions.base.forking import FORKS, Server

# First what sets what libraries read when they are imported.
ALWAYS = ["scripts._job", "stable_regions.base.files", "stable_regions.audit.records"]
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


def forks(workflow: Any) -> bool:
    """Whether the scripts of a workflow are started so."""
    deployed = workflow.deployment_settings.deployment_method
    return FORKS and workflow.local_exec and DeploymentMethod.CONDA not in deployed


@contextmanager
def measured(pid: int, record: BenchmarkRecord) -> Iterator[None]:
    """Measure a process as Snakemake does, but its time on a clock that nobody sets."""
    began = time.monotonic()
    with benchmarked(pid, record):
        yield
    record.running_time = time.monotonic() - began


def let_scripts_fork(workflow: Any) -> None:
    """Have Snakemake start them so."""
    environments, rules = (
        {name: Server([*ALWAYS, *some]) for name, some in imported.items()}
        for imported in (OF_ENVIRONMENT, OF_RULE)
    )
    start_alone = PythonScript.execute_script

    def execute_script(self: Any, path: str, edit: bool = False) -> None:
        rule = workflow.get_rule(self.rulename)
        server = rules.get(rule.name) or environments.get(Path(rule.conda_env or "").stem)
        if server is None or edit or self.conda_env or self.container_img or self.env_modules:
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
