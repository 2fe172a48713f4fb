# What every stage needs: the checked study, and helpers for the rules.
import re
from functools import cache

from stable_regions.audit import run_lock
from stable_regions.base.errors import UserError
from stable_regions.base.files import sha256
from stable_regions.audit.provenance import code_digest
from stable_regions.study import paths, resources, work
from stable_regions.study.study import Study, any_of

try:
    STUDY = Study.load(config, HERE)
except UserError as error:
    raise WorkflowError(str(error))

CONFIG = STUDY.config
COMPUTE = CONFIG.compute
BENCHMARKS = {}  # by stage: the benchmark files of its jobs
CODE = {}  # what is read of scripts and modules, each once


wildcard_constraints:
    study=re.escape(STUDY.name),
    model="[^/@]+",
    ref="[^/]+",
    job="[^/]+",
    prompts="[^/]+",
    experiment=any_of(STUDY.experiments),
    table="[^/]+",
    shard="[0-9]+",
    claim=any_of(STUDY.claims),


@cache
def digest(script, *modules):
    """The digest of a script's code, with modules that it loads by name."""
    return code_digest(HERE / "scripts" / script, *modules, seen=CODE)


def code(script, *modules):
    """A parameter of a script's rule, so that results follow the code; evaluated per job."""
    return lambda wildcards: digest(script, *modules)


def source_module(wildcards):
    """The module of a model's source, by name."""
    return STUDY.source_module(wildcards.model)


def made_by(script):
    """The same of a script that makes a model, or fetches it, by the module of its source."""
    return lambda wildcards: digest(script, source_module(wildcards))


def entry(section, name):
    """A section's entry as plain values: a parameter, so that results follow the configuration."""
    return getattr(CONFIG, section)[name].model_dump()


def tables(names):
    """The paths of tables."""
    return [paths.table(STUDY.name, name) for name in names]


def all_cores(wildcards):
    """Threads of a job that runs alone."""
    return workflow.resource_settings.cores or 1


def benchmark_path(stage, path, **values):
    """The path itself, registered as a benchmark of a stage; `values` are those of its wildcards."""
    BENCHMARKS.setdefault(stage, []).extend(expand(path, study=STUDY.name, **values))
    return path


def benchmark_jobs(stage, path, job_rule):
    """The same for a rule whose jobs the study knows."""
    files = job_rule.each(path.replace("{study}", STUDY.name))
    BENCHMARKS.setdefault(stage, []).extend(files)
    return path


def benchmark_gathering(path):
    """The same for the rule that gathers shards."""
    for name in STUDY.sharded:
        raw = [Path(output).name for output in STUDY.raw_outputs(name)]
        benchmark_path(
            "gathering", path, folder=STUDY.entry(name).folder, experiment=name, raw=raw
        )
    return path


def measuring_job(wildcards):
    """The job that measures models in an experiment."""
    return STUDY.measuring_jobs[wildcards.experiment][wildcards.job]


def activation_job(wildcards):
    """The job that caches activations on a prompt set."""
    return STUDY.activation_jobs[wildcards.prompts][wildcards.job]


def figure_module(figure):
    """The module that draws a figure, by name."""
    return f"stable_regions.figures.{figure}"
