"""Rerun one job of a study in this process: `python -m stable_regions.audit.rerun RECORD`.

Each job leaves a record beside its log, `logs/.../*.record.json`. Its script gets what it got from
Snakemake, and a `breakpoint()` anywhere in the code stops it. Its outputs go to another folder.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from stable_regions.audit.records import ROOT, resolve_recorded_path, same_code
from stable_regions.audit.replay import Job, run
from stable_regions.base.errors import UserError, printable
from stable_regions.base.files import read_object

PARTS = {"rule", "script", "wildcards", "params", "threads", "input", "output"}


def read_record(path: Path) -> Job:
    """Read the record of a job that can be rerun here.

    Raises
    ------
    UserError
        It is not such a record, this checkout lacks its script, or one of its outputs would not lie
        below the folder that is given.
    """
    job = read_object(path)
    if not job.keys() >= PARTS:
        raise UserError(f"{path}: not a record of a job: give a .record.json file below logs/")
    if job["script"] not in {
        f"scripts/{script.name}" for script in (ROOT / "scripts").glob("*.py")
    }:
        raise UserError(f"{path}: is of {job['script']}, which is not in this checkout")
    for file in job["output"]["files"]:
        if Path(file["path"]).is_absolute() or ".." in Path(file["path"]).parts:
            raise UserError(f"{path}: made {file['path']}, which lies outside of its study")
    return job


def rerun(path: Path, into: Path | None) -> None:
    """Rerun a recorded job, with its outputs below a folder: a new one by default.

    The process moves to the folder that the job was run in, where its inputs are.

    Raises
    ------
    UserError
        It cannot be run again.
    SystemExit
        It failed: its error is printed, and is in the log.
    """
    job = read_record(path)
    logs = next((folder for folder in path.resolve().parents if folder.name == "logs"), None)
    if logs is None:
        raise UserError(
            f"{path}: not below a folder logs/: give the record in the folder of its run"
        )
    into = into and into.resolve()
    os.chdir(logs.parent)
    missing = [
        f["path"] for f in job["input"]["files"] if not resolve_recorded_path(f["path"]).exists()
    ]
    if missing:
        raise UserError(
            f"{missing[0]}: missing input of the job: make it by Snakemake (--notemp keeps what it "
            "deletes after use)"
        )
    if not same_code(job):
        print("The code has changed since.")
    into = into or Path(tempfile.mkdtemp(prefix="rerun-"))
    into.mkdir(parents=True, exist_ok=True)
    said = f"{job['rule']}: {job['script']} again; outputs and log below {into}"
    print(printable(said), flush=True)
    run(job, into, into / "rerun.log")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stable_regions.audit.rerun", description="Run one job of a study again."
    )
    parser.add_argument("record", type=Path, help="logs/.../*.record.json")
    parser.add_argument("--into", type=Path, help="folder of the outputs; a new one below /tmp")
    args = parser.parse_args()
    try:
        rerun(args.record, args.into)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
