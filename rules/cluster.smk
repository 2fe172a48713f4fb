# What a scheduler is told of jobs: memory, time and GPUs, and which of them share an entry of its queue.
import time

from snakemake.jobs import GroupJob

from stable_regions.errors import told_in


def growing(wanted):
    """A resource that doubles when a job is tried again: it may have been cut off for want of it.

    `wanted` is a number, or a function of the wildcards.
    """
    number = wanted if callable(wanted) else lambda wildcards: wanted
    return lambda wildcards, attempt: number(wildcards) * 2 ** (attempt - 1)


def gpus_of(ref):
    """GPUs of a job that runs a model: where jobs run is known once the workflow is read."""
    return resources.gpus(STUDY, ref, local=workflow.local_exec)


def asking(asked, job_of):
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

    To Snakemake it is one of the groups `alike`, so that `group-components` needs no other name.
    """
    name = "-".join(names)
    workflow.parent_groupids[name] = "alike"
    return name


def errors_told():
    """What the logs of jobs tell of errors, a line each: on the screen are those of this machine."""
    folders = [Path("logs"), Path(".snakemake", "slurm_logs")]
    return [] if workflow.local_exec else told_in(folders, STARTED)


def log_reason(group, msg=None, log_error=GroupJob.log_error, **known):
    """Say why a group failed, which Snakemake keeps to itself: sbatch's own words, for one."""
    print(f"{group.groupid}: {str(msg).splitlines()[0]}", file=sys.stderr)
    log_error(group, msg, **known)


STARTED = time.time()
GroupJob.log_error = log_reason
# A folder of logs is called by it; with the names of its rules it can be longer than a file system
# lets a name be.
GroupJob.name = property(lambda group: group.groupid)
