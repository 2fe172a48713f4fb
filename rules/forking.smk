# On this machine, scripts fork from a process for each environment that has imported its libraries. To
# import them takes a script up to eight seconds: all in all, a third of the study `glance`.
import subprocess
from contextlib import ExitStack

from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

from stable_regions.base.forking import FORKS, Server

# By environment, what its scripts import; the scripts of others are few.
IMPORTED = {
    "clustering": ["stable_regions.measures.clusters", "stable_regions.base.files"],
    "figures": ["stable_regions.figures.style", "stable_regions.base.files"],
    "model": [
        "stable_regions.models.huggingface",
        "stable_regions.models.hooked",
        "stable_regions.base.files",
    ],
}
SERVERS = {name: Server(modules) for name, modules in IMPORTED.items()}
execute_alone = PythonScript.execute_script


def execute_script(script, path, edit=False):
    """Run a script as Snakemake would, but for the start of its process."""
    environment = workflow.get_rule(script.rulename).conda_env
    server = SERVERS.get(Path(environment or "").stem)
    elsewhere = script.conda_env or script.container_img or script.env_modules
    if server is None or elsewhere or edit:
        execute_alone(script, path, edit)
        return
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    changes = {f"{name}_NUM_THREADS": str(script.threads) for name in names}
    changes["TMPDIR"] = str(script.resources.get("tmpdir", "/tmp"))
    with ExitStack() as stack:
        status = server.run(
            path,
            changes,
            script.threads,
            lambda pid: stack.enter_context(benchmarked(pid, script.bench_record)),
        )
    if status:
        raise subprocess.CalledProcessError(status, f"{sys.executable} {path}")


if FORKS and workflow.is_main_process and workflow.local_exec:
    PythonScript.execute_script = execute_script
