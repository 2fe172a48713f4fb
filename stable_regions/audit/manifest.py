"""The manifest of a study: every file of its results, its hash, and the chain of jobs behind it.

It is made last, from the files on the disk and the records of the jobs
(`stable_regions.audit.records`), and says only what agrees with both.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stable_regions.audit.records import (
    ROOT,
    changed_file_error,
    now,
    path_digest,
    resolve_recorded_path,
)
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_json, sha256

NAME = "manifest.json"
CRATE = "ro-crate-metadata.json"
PREVIEW = "ro-crate-preview.html"  # the same for a person
README = "README.md"  # what lies in the folder
LEFT_OUT = "left-out.json"  # in a deposit: which files of the manifest it does without
CODE = "workflow"  # the folder of the results that holds the code behind them
# Parts of a raw output, which go when they have been put together.
TEMPORARY = re.compile(r"\.(shards|blocks)/[^/]+$")

Job = dict[str, Any]


def result_files(results: Path) -> list[str]:
    """All files of a study except the manifest and what is made from it, as sorted paths.

    Hidden ones are those that a job is writing.
    """
    inside = (path.relative_to(results) for path in results.rglob("*") if path.is_file())
    return sorted(
        (results / path).as_posix()
        for path in inside
        if not any(part.startswith(".") for part in path.parts)
        and path.parts[0] not in (NAME, CRATE, PREVIEW, README, LEFT_OUT, CODE)
    )


def code_files(results: Path) -> list[Path]:
    """The copy of the code beside a study, sorted, without what setting it up and running adds."""
    code = results / CODE
    return sorted(
        path
        for path in code.rglob("*")
        if path.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(code).parts)
    )


class Chain:
    """The jobs behind some files, found through the hashes of what they made and read.

    Attributes
    ----------
    jobs
        Records, each after the jobs whose outputs it reads.
    made_by
        The number in `jobs` of the job behind each file reached; None where there is no record.
    hashes
        The hash of each file reached.
    """

    def __init__(self, records: list[Job]) -> None:
        self.jobs: list[Job] = []
        self.made_by: dict[str, int | None] = {}
        self.hashes: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._disk: dict[str, str] = {}
        self._makers: dict[str, list[Job]] = {}
        for record in records:
            for file in record["output"]["files"]:
                self._makers.setdefault(file["path"], []).append(record)

    def on_disk(self, path: str) -> str | None:
        """The hash of a file on disk; None if it is missing."""
        if path not in self._disk and resolve_recorded_path(path).exists():
            self._disk[path] = path_digest(resolve_recorded_path(path))
        return self._disk.get(path)

    def reach(self, path: str, read_as: str | None = None, reader: Job | None = None) -> None:
        """Add a file, and all that it was made from, to the chain.

        Parameters
        ----------
        read_as, reader
            The hash that a later job found it to have, and that job.

        Raises
        ------
        UserError
            The file is not as the job that made it left it, or not as its reader read it.
        """
        if path in self.made_by:
            return
        digest = self.on_disk(path)
        makers = self._makers.get(path, [])
        if reader and digest is None and kept(path):
            raise UserError(f"{path}: missing: run `snakemake {path}`")
        fitting = [job for job in makers if output_hash(job, path) == (digest or read_as)]
        if makers and not fitting:
            raise changed_file_error(path, makers[-1]["rule"])
        if reader and digest not in (None, read_as):
            output = reader["output"]["files"][0]["path"]
            raise UserError(
                f"{path}: is not the file that {output} was made from; "
                f"`snakemake --forcerun {reader['rule']}` makes that again"
            )
        self.hashes[path] = digest or read_as or ""
        self.made_by[path] = None  # known from here on: what its job made leads back to it
        if fitting:
            self.made_by[path] = self._take(fitting[-1])

    def _take(self, job: Job) -> int:
        if id(job) not in self._numbers:
            for file in job["input"]["files"]:
                self.reach(file["path"], file["sha256"], job)
            self._numbers[id(job)] = len(self.jobs)
            self.jobs.append(job)
        number = self._numbers[id(job)]
        for file in job["output"]["files"]:
            if kept(file["path"]):  # what else it made
                self.reach(file["path"], file["sha256"], job)
        return number


def kept(path: str) -> bool:
    """Whether a file is a result that is not deleted after use."""
    return path.startswith("results/") and not TEMPORARY.search(path)


def output_hash(job: Job, path: str) -> str | None:
    """The hash of a file that a job made."""
    return next((f["sha256"] for f in job["output"]["files"] if f["path"] == path), None)


def shared(jobs: list[Job], key: str, values: list[Any]) -> list[Job]:
    """The jobs, with a value that many share replaced by its index in `values`."""
    numbered = []
    for job in jobs:
        if job[key] not in values:
            values.append(job[key])
        numbered.append(job | {key: values.index(job[key])})
    return numbered


def checkout() -> dict[str, Any]:
    """The version of the code: commit, whether files differ from it, hash of the lock file.

    Commit and difference are None where the code is in no Git repository.
    """
    git = ["git", "-C", str(ROOT)]
    try:
        commit, status = (
            subprocess.run([*git, *query], capture_output=True, encoding="utf-8", errors="replace")
            for query in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except OSError:  # there is no Git here
        is_repository = False
    else:
        is_repository = commit.returncode == status.returncode == 0
    return {
        "commit": commit.stdout.strip() if is_repository else None,
        "changed": bool(status.stdout.strip()) if is_repository else None,
        "lock": sha256(ROOT / "requirements.lock"),
    }


def build(
    results: Path, records: list[Job], last: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a finished study.

    Parameters
    ----------
    results
        The study's folder, relative to the working directory.
    records
        As `load_records` gives them.
    last
        The files that the study ends in: all behind them is the study.
    facts
        What else to say: the study, its configuration.

    Returns
    -------
    The facts, and `made` (when), `checkout`; `files`: of each file of the results its `sha256`,
    `bytes` and `job`; `inputs`: the same, without bytes, of all else that jobs read or made, and
    what a model's folder says of itself; `jobs` as recorded, each after those it builds on, with
    the numbers of its entries in `machines` and `environments` (versions of packages).

    Raises
    ------
    UserError
        A file is not as the records say.
    """
    chain = Chain(records)
    for path in last:
        chain.reach(path)
    files = {}
    for path in result_files(results):
        files[path] = {
            "sha256": chain.on_disk(path),
            "bytes": Path(path).stat().st_size,
            "job": chain.made_by.get(path),
        }
    inputs = {}
    for path in sorted(set(chain.made_by) - set(files)):
        inputs[path] = {"sha256": chain.hashes[path], "job": chain.made_by[path]}
        described = resolve_recorded_path(path) / "source.json"
        if described.is_file():
            inputs[path]["source"] = read_json(described)
    machines: list[Any] = []
    environments: list[Any] = []
    jobs = shared(chain.jobs, "machine", machines)
    jobs = [
        {("environment" if key == "versions" else key): value for key, value in job.items()}
        for job in shared(jobs, "versions", environments)
    ]
    return {
        **facts,
        "made": now(),
        "checkout": checkout(),
        "files": files,
        "inputs": inputs,
        "jobs": jobs,
        "machines": machines,
        "environments": environments,
    }


def whole_jobs(manifest: Mapping[str, Any]) -> list[Job]:
    """The jobs of a manifest as recorded, each with its machine and versions."""
    return [
        {key: value for key, value in job.items() if key != "environment"}
        | {
            "machine": manifest["machines"][job["machine"]],
            "versions": manifest["environments"][job["environment"]],
        }
        for job in manifest["jobs"]
    ]


def read(results: Path) -> dict[str, Any]:
    """The manifest of a study; UserError if it has none."""
    path = results / NAME
    if not path.exists():
        raise UserError(f"{path}: missing: finish the study first (`snakemake`)")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not {"files", "inputs", "jobs"} <= set(manifest):
        raise UserError(f"{path}: not a manifest: delete it and run again")
    return manifest
