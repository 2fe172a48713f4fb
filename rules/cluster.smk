# What jobs request from a scheduler: memory, time and GPUs, and which jobs share one of its entries.
import time

from snakemake.jobs import GroupJob

from stable_regions.base.errors import errors_since


def growing(wanted):
    """A resource that doubles when a job is tried again: it may have been cut off for want of it.

    `wanted` is a number, or a function of the wildcards.
    """
    number = wanted if callable(wanted) else lambda wildcards: wanted
    return lambda wildcards, attempt: number(wildcards) * 2 ** (attempt - 1)


def gpus_of(ref):
    """GPUs of a job that runs a model: where jobs run is known once the workflow is read."""
    return resources.gpus(STUDY, ref, local=workflow.local_exec)


def scheduler_resources(asked, job_of):
    """What a job that runs models asks a scheduler for, as `resources` tells it of the job."""
    wanted = lambda wildcards: asked(
        STUDY, job_of(wildcards), local=workflow.local_exec
    )
    return {
        "mem_mb": growing(lambda w: wanted(w).memory),
        "runtime": growing(lambda w: wanted(w).minutes),
        "gpu": lambda w: wanted(w).gpus or None,  # none of it, and not 0 of it
    }


def grouped(*names):
    """The group of jobs that are alike: of these a scheduler's profile puts several in one entry.

    To Snakemake it is one of the groups `alike`, as if that had been written with wildcards: without
    the entry in `parent_groupids` a profile would need a line of `group-components` for each model.
    """
    name = "-".join(names)
    workflow.parent_groupids[name] = "alike"
    return name


def logged_errors():
    """What the logs of jobs tell of errors, a line each: on the screen are those of this machine.

    Of a group that failed Snakemake names all logs, up to twenty, and with --show-failed-logs prints
    them whole; in which of them the error is, and what it says, is left to the reader.
    """
    folders = [Path("logs"), Path(".snakemake", "slurm_logs")]
    return [] if workflow.local_exec else errors_since(folders, STARTED)


def log_reason(group, msg=None, log_error=GroupJob.log_error, **known):
    """Say why a group failed, sbatch's refusal for one: Snakemake 9.27 drops the message."""
    print(f"{group.groupid}: {str(msg).splitlines()[0]}", file=sys.stderr)
    log_error(group, msg, **known)


STARTED = time.time()
GroupJob.log_error = log_reason
# The Slurm plugin calls a folder of logs by it. With the names of five rules, as Snakemake has it, it
# is up to 230 characters in config.yaml's studies: two longer names, and no file system takes it.
GroupJob.name = property(lambda group: group.groupid)
