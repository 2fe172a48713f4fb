# What a scheduler is told of jobs: memory, time and GPUs, and which of them share an entry of its queue.
import math
import time

from snakemake.jobs import GroupJob

from stable_regions.errors import told_in

# Operations a second, slow for what it is: a core does 37 GFLOP/s or more in a sweep, and a T4
# would do three TFLOP/s at 40 % of its peak.
CORE_SPEED, GPU_SPEED = 20e9, 2e12
FETCH_SPEED = 100e6  # bytes a second of weights, from a shared file system


def minutes_of(ref, points, gpus=0):
    """Minutes that a job surely needs no more of to load a model and run points, or tokens, on it."""
    shape = shape_told(settings.split(ref)[0])
    if shape is None:
        return 240
    speed = gpus * GPU_SPEED or threads_of(ref) * CORE_SPEED
    seconds = points * shape.operations(-1, logits=True) / speed
    return 10 + math.ceil((seconds + 4 * shape.weights / FETCH_SPEED) / 60)


def growing(wanted):
    """A resource that doubles when a job is tried again: it may have been cut off for want of it.

    `wanted` is a number, or a function of the wildcards.
    """
    number = wanted if callable(wanted) else lambda wildcards: wanted
    return lambda wildcards, attempt: number(wildcards) * 2 ** (attempt - 1)


def run_resources(job, refs, points, others=()):
    """What a job that runs models asks a scheduler for, with so many points on each model."""
    return {
        "mem_mb": growing(memory_of(job, others)),
        "runtime": growing(lambda w: len(refs) * minutes_of(job, points, gpus_of(job))),
        "gpu": lambda w: gpus_of(job) or None,  # none of it, and not 0 of it
    }


def measuring_resources(experiment, job, refs):
    """The same for one of the jobs that an experiment is measured in."""
    others = getattr(CONFIG.experiments[experiment], "dtypes", ())
    points = points_of(experiment) // job_count(experiment)
    return run_resources(job, refs, points, others)


def grouped(*names):
    """The group of jobs that are alike: of these a scheduler's profile puts several in one entry.

    To Snakemake it is one of the groups `alike`, as if that had been written with wildcards: without
    the entry in `parent_groupids` a profile would need a line of `group-components` for each model.
    """
    name = "-".join(names)
    workflow.parent_groupids[name] = "alike"
    return name


def errors_told():
    """What the logs of jobs tell of errors, a line each: on the screen are those of this machine.

    Of a group that failed Snakemake names all logs, up to twenty, and with --show-failed-logs prints
    them whole; in which of them the error is, and what it says, is left to the reader.
    """
    folders = [Path("logs"), Path(".snakemake", "slurm_logs")]
    return [] if workflow.local_exec else told_in(folders, STARTED)


def log_reason(group, msg=None, log_error=GroupJob.log_error, **known):
    """Say why a group failed, sbatch's refusal for one: Snakemake 9.27 drops the message."""
    print(f"{group.groupid}: {str(msg).splitlines()[0]}", file=sys.stderr)
    log_error(group, msg, **known)


STARTED = time.time()
GroupJob.log_error = log_reason
# The Slurm plugin calls a folder of logs by it. With the names of five rules, as Snakemake has it, it
# is up to 230 characters in config.yaml's studies: two longer names, and no file system takes it.
GroupJob.name = property(lambda group: group.groupid)
