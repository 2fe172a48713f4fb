# One screen: the configuration, the stages, and the targets that a person asks for.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.27")

HERE = Path(str(workflow.current_basedir))
sys.path.insert(0, str(HERE))  # the library is used from the checkout

from stable_regions.study.config import check_config_file
from stable_regions.base.errors import UserError, printable

try:
    for path in [HERE / "config.yaml", *workflow.configfiles]:
        check_config_file(Path(path))
except UserError as error:
    raise WorkflowError(str(error))


configfile: HERE / "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/cluster.smk"
include: "rules/fetch.smk"
include: "rules/train.smk"
include: "rules/activations.smk"
include: "rules/measure.smk"
include: "rules/tables.smk"
include: "rules/clustering.smk"
include: "rules/figures.smk"
include: "rules/claims.smk"
include: "rules/paper.smk"
include: "rules/explorer.smk"
include: "rules/plan.smk"
include: "rules/audit.smk"


# Jobs that read this file in a process of their own belong to a run.
planned = run_lock.start_run(Path(".snakemake")) if workflow.is_main_process else None


onstart:
    if planned:
        planned()
    selected = CONFIG.selected()
    print(
        printable(f"Study {STUDY.name}: {selected.title}. {selected.cost or ''}"),
        file=sys.stderr,
    )
    if set(workflow.dag_settings.targets) <= {"all"}:  # the whole study
        try:
            work.check_capacity(STUDY, local=workflow.local_exec)
        except UserError as error:
            raise WorkflowError(str(error))


onerror:
    for line in logged_errors():
        print(line, file=sys.stderr)
    print(
        "A step failed: its error is above, the rest in the log it names.",
        file=sys.stderr,
    )


rule all:
    default_target: True
    input:
        f"results/{STUDY.name}/paper.pdf",
        f"results/{STUDY.name}/explorer.html",
        f"results/{STUDY.name}/ro-crate-metadata.json",
        [f"logs/{STUDY.name}/comparison.json"] if STUDY.reference.exists() else [],
