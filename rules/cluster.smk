# What jobs request from a scheduler: memory, time and GPUs, and which jobs share one of its entries.
from snakemake.jobs import GroupJob

from stable_regions.base.errors import errors_since, log_times


def growing(amount):
    """A resource that doubles when a job is retried: it may have been killed for lack of it.

    `amount` is a number, or a function of the wildcards.
    """
    number = amount if callable(amount) else lambda wildcards: amount
    return lambda wildcards, attempt: number(wildcards) * 2 ** (attempt - 1)


def gpus_of(ref):
    """GPUs of a job that runs a model; where jobs run is known only after parsing."""
    return resources.gpus(STUDY, ref, local=workflow.local_exec)


def scheduler_resources(request_of, job_of):
    """The resources of jobs that run models: `request_of` is a function of `resources`."""
    request = lambda wildcards: request_of(
        STUDY, job_of(wildcards), local=workflow.local_exec
    )
    return {
        "mem_mb": growing(lambda w: request(w).memory),
        "runtime": growing(lambda w: request(w).minutes),
        "gpu": lambda w: request(w).gpus or None,  # no entry rather than 0
    }


def grouped(*names):
    """The group of jobs that are alike: of these a scheduler's profile puts several in one entry.

    To Snakemake it is one of the groups `alike`, as if that had been written with wildcards: without
    the entry in `parent_groupids` a profile would need a line of `group-components` for each model.
    """
    name = "-".join(names)
    workflow.parent_groupids[name] = "alike"
    return name


def note_logs():
    """Note which logs are there before a run; where jobs run is not known earlier."""
    if not workflow.local_exec:
        LOGGED_BEFORE.update(log_times(LOGS))


def logged_errors():
    """What the logs of jobs tell of errors, a line each: on the screen are those of this machine.

    Of a group that failed Snakemake names all logs, up to twenty, and with --show-failed-logs prints
    them whole; in which of them the error is, and what it says, is left to the reader.
    """
    return [] if workflow.local_exec else errors_since(LOGS, LOGGED_BEFORE)


def log_reason(group, msg=None, log_error=GroupJob.log_error, **known):
    """Say why a group failed, sbatch's refusal for one: Snakemake 9.27 drops the message."""
    print(f"{group.groupid}: {str(msg).splitlines()[0]}", file=sys.stderr)
    log_error(group, msg, **known)


LOGS = [Path("logs"), Path(".snakemake", "slurm_logs")]
LOGGED_BEFORE = {}
GroupJob.log_error = log_reason
# The Slurm plugin calls a folder of logs by it. With the names of five rules, as Snakemake has it, it
# is up to 230 characters in config.yaml's studies: two longer names, and no file system takes it.
GroupJob.name = property(lambda group: group.groupid)
