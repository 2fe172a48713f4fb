# On this machine, scripts fork from a process for each environment that has imported its libraries. To
# import them takes a script up to eight seconds: all in all, a third of the study `glance`.
import subprocess
from contextlib import ExitStack

from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

from stable_regions.base.forking import FORKS, Server

# What the scripts of a rule import, or those of an environment; of other environments there are few.
IMPORTED = {
    "prompts": ["stable_regions.prompts.words"],
    "clustering": ["stable_regions.measures.clusters"],
    "figures": ["stable_regions.figures.style"],
    "model": ["stable_regions.models.huggingface", "stable_regions.models.hooked"],
}
# First what sets what libraries read when they are imported.
ALWAYS = ["scripts._job", "stable_regions.base.files", "stable_regions.audit.records"]
SERVERS = {name: Server([*ALWAYS, *some]) for name, some in IMPORTED.items()}
execute_alone = PythonScript.execute_script


def execute_script(script, path, edit=False):
    """Run a script as Snakemake would, but for the start of its process."""
    rule = workflow.get_rule(script.rulename)
    server = SERVERS.get(rule.name) or SERVERS.get(Path(rule.conda_env or "").stem)
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
