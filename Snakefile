# The configuration, the stages, and the default target.
import logging
import os
import sys
from pathlib import Path

import yaml
from snakemake.dag import DAG
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.27")

HERE = Path(str(workflow.current_basedir))
sys.path.insert(0, str(HERE))  # the library is used from the checkout

from scripts._forking import MEMORY, forks, let_scripts_fork
from scripts._times import keep_order
from stable_regions.base.errors import UserError, printable
from stable_regions.estimate.capacity import check_not_full
from stable_regions.estimate.watch import Watch, closing
from stable_regions.study.config import check_config_file

logging.raiseExceptions = False  # a full disk is told once
try:
    if workflow.is_main_process:
        check_not_full(Path(".snakemake"))
    for path in [HERE / "config.yaml", *workflow.configfiles]:
        check_config_file(Path(path))
except UserError as error:
    raise WorkflowError(str(error))


# Snakemake's loader, in C where there is one: the same values, a tenth of a second sooner.
yaml.FullLoader = getattr(yaml, "CFullLoader", yaml.FullLoader)


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


# Jobs that read this file in their own process belong to a run that holds the lock.
release_planning = (
    run_lock.start_run(Path(".snakemake")) if workflow.is_main_process else None
)
keep_order(DAG)
if workflow.is_main_process and forks(workflow):
    let_scripts_fork(workflow)
for name, value in MEMORY.items():
    os.environ.setdefault(name, value)
watch = Watch(work.expected(STUDY)) if workflow.is_main_process else None
if watch:  # before the run, since what it will do is said before it starts
    logger.addHandler(watch)


onstart:
    note_logs()
    if release_planning:
        release_planning()
    selected = CONFIG.selected()
    print(
        printable(f"Study {STUDY.name}: {selected.title}. {selected.cost or ''}"),
        file=sys.stderr,
    )
    if set(workflow.dag_settings.targets) <= {"all"}:  # the whole study
        try:
            work.check_capacity(STUDY, local=workflow.local_exec)
            work.check_names(STUDY)
        except UserError as error:
            raise WorkflowError(str(error))
    screens = [
        each for each in logger.handlers if each.name == "DefaultStreamHandler"
    ]
    if watch and screens:  # another one was chosen by --logger
        watch.start(screens[0])
        if workflow.local_exec:  # scripts leave the screen to it, but for errors
            os.environ.update(STABLE_REGIONS_WATCHED="1")


onsuccess:
    if watch:
        watch.stop()
    if set(workflow.dag_settings.targets) <= {"all"}:
        results = Path("results", STUDY.name)
        for line in closing(results, Path("logs", STUDY.name, "comparison.json")):
            print(line, file=sys.stderr)


onerror:
    if watch:
        watch.stop()
    for line in logged_errors():
        print(line, file=sys.stderr)
    print(
        "A job failed: its error is above, the traceback in the log named there.",
        file=sys.stderr,
    )


rule all:
    default_target: True
    input:
        f"results/{STUDY.name}/paper.pdf",
        f"results/{STUDY.name}/explorer.html",
        f"results/{STUDY.name}/ro-crate-metadata.json",
        [f"logs/{STUDY.name}/comparison.json"] if STUDY.references else [],
