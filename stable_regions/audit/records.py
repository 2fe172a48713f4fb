"""What each job did: a record beside its log, with the hashes of all that it read and made.

Records hold times and machines, so they lie with the logs: results hold neither, and two clean runs
give the same bytes.
"""

import hashlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stable_regions.audit.provenance import PACKAGE, code_digest, machine, versions
from stable_regions.base.errors import UserError, first_line
from stable_regions.base.files import METADATA_KEY, atomic, read_json, read_object, sha256
from stable_regions.base.redact import redact, with_tilde

ROOT = PACKAGE.parent
SUFFIX = ".record.json"
# Packages whose modules go by another name.
PACKAGE_OF_MODULE = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}


def path_digest(path: str | Path) -> str:
    """SHA-256 of a file; of a folder, that of a list of its files with their SHA-256.

    A model's folder is known by its `source.json`, which holds the SHA-256 of all else in it.
    """
    path = Path(path)
    if not path.is_dir():
        return sha256(path)
    if (path / "source.json").is_file():
        return sha256(path / "source.json")
    lines = [
        f"{sha256(file)} {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def recorded_path(path: str | Path) -> str:
    """A file's path in records: relative to the working directory, or else to the checkout."""
    for base in (Path.cwd(), ROOT):
        if Path(path).is_absolute() and Path(path).is_relative_to(base):
            return Path(path).relative_to(base).as_posix()
    return with_tilde(str(path))


def resolve_recorded_path(name: str) -> Path:
    """The path on disk of a file named in a record."""
    path = Path(name).expanduser()
    return path if path.exists() or path.is_absolute() else ROOT / path


def same_code(job: Mapping[str, Any]) -> bool:
    """Whether the code of a recorded job is unchanged in this checkout."""
    script, params = ROOT / job["script"], job["params"]
    modules = [params["module"]] if "module" in params else []
    return script.is_file() and params.get("code") == code_digest(script, *modules)


def now(seconds_ago: float = 0.0) -> str:
    """The time, UTC, as ISO 8601 writes it; or that of some seconds ago."""
    time_then = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return time_then.isoformat(timespec="milliseconds")


def uptime() -> float:
    """Seconds on a clock that nobody sets; it goes on while the machine sleeps, where it can."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def loaded_versions() -> dict[str, str]:
    """Versions of Python and of every installed package that this process has imported."""
    modules = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    packages = []
    for module in sorted(modules):
        name = PACKAGE_OF_MODULE.get(module, module.replace("_", "-").lower())
        try:
            metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
        packages.append(name)
    return versions(packages)


def conda() -> str | None:
    """SHA-256 of the environment file of this interpreter's conda environment, if it has one.

    Snakemake keeps a copy of the file beside the environment.
    """
    made_from = Path(f"{sys.prefix}.yaml")
    return sha256(made_from) if made_from.is_file() else None


def usage() -> dict[str, float]:
    """Processor time of this process and its children, and the most memory that it ever held."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    taken = {"cpu_s": round(sum(one.ru_utime + one.ru_stime for one in spent), 2)}
    # getrusage counts what the process that started this one held
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    if peak := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
        taken["peak_mb"] = round(int(peak[1]) * 1024 / 1e6, 1)
    return taken


def _files(
    paths: Iterable[str],
    names: Mapping[str, Sequence[int | None]],
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    """Files of a job: their hashes, and their names in the script."""
    return {
        "files": [{"path": recorded_path(path), "sha256": hashes[path]} for path in paths],
        "names": {name: list(place) for name, place in names.items()},
    }


def facts_of(path: Path) -> dict[str, Any]:
    """A raw file's metadata; nothing else of it is read.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    from safetensors import safe_open

    try:
        if path.suffix == ".parquet":
            stored = (pq.read_schema(path).metadata or {}).get(METADATA_KEY)
        else:
            with safe_open(path, framework="numpy") as file:
                stored = (file.metadata() or {}).get(METADATA_KEY.decode())
        return json.loads(stored or "{}")
    except Exception as error:  # of a damaged file, whatever the reader stumbles on
        raise UserError(f"{path}: not a readable raw file ({first_line(error)})") from None


def check_inputs(paths: Iterable[str], logs: Path) -> dict[str, str]:
    """Check the inputs of a job against the records of the jobs that made them.

    Parameters
    ----------
    logs
        The folder of all records; what none of them made is not compared.

    Returns
    -------
    Hash of each file, by the path as given.

    Raises
    ------
    UserError
        A file is not as the job that made it left it, or a model's folder not as it says itself.
    """
    hashes = {path: path_digest(path) for path in paths}
    makers: dict[str, dict[str, str]] = {}
    names = [json.dumps(recorded_path(path), ensure_ascii=False) for path in hashes]
    for record in _record_files(logs):
        text = record.read_text(encoding="utf-8")
        if any(name in text for name in names):  # few do, and to parse all would take long
            job = json.loads(text)
            for file in job["output"]["files"]:
                makers.setdefault(file["path"], {})[file["sha256"]] = job["rule"]
    for path, digest in hashes.items():
        digests = makers.get(recorded_path(path), {})
        if digests and digest not in digests:
            raise changed_file_error(recorded_path(path), list(digests.values())[-1])
        if Path(path, "source.json").is_file():
            check_folder(Path(path))
    return hashes


def check_folder(folder: Path) -> None:
    """UserError unless the files of a model folder match the hashes in its source.json."""
    recorded = read_object(folder / "source.json")["files"]
    files = [
        folder / name for name in recorded if (folder / name).exists()
    ]  # loaders miss the others
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(sha256, files))
    for file, digest in zip(files, hashes, strict=True):
        if digest != recorded[file.name]:
            raise UserError(
                f"{file}: does not match the hash in source.json: delete {folder} and run again"
            )


def changed_file_error(path: str, rule: str) -> UserError:
    """The error for a file that changed since the job that made it."""
    return UserError(f"{path}: does not match what the rule {rule} wrote: delete it and run again")


def write_record(job: Any, script: Path, began: float, input_hashes: Mapping[str, str]) -> None:
    """Record a job once its outputs are complete.

    Parameters
    ----------
    job
        What Snakemake hands to a script.
    began
        When the script began, as `uptime` gave it.
    input_hashes
        The hashes of what it read, as `check_inputs` gives them.
    """
    output_hashes = {path: path_digest(path) for path in job.output}
    record = {
        "rule": job.rule,
        "script": recorded_path(script),
        "wildcards": dict(job.wildcards.items()),
        "params": dict(job.params.items()),
        "threads": job.threads,
        "input": _files(job.input, job.input._names, input_hashes),
        "output": _files(job.output, job.output._names, output_hashes),
        "started": now(uptime() - began),
        "ended": now(),
        "usage": usage(),
        "machine": machine() | {"cores": os.cpu_count()},
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "conda": conda(),
        "versions": loaded_versions(),
    }
    dump(Path(str(job.log[0])).with_suffix(SUFFIX), record)


def dump(path: Path, value: Any) -> None:
    """Write JSON, its keys in their order: a job run again must find its parameters as they were.

    The home folder and secrets are left out.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic(path) as target:
        target.write_text(redact(text) + "\n", encoding="utf-8")


def _record_files(logs: Path) -> Iterator[Path]:
    """The records below a folder of logs; hidden folders hold those that are being written."""
    for folder, inside, files in os.walk(logs):
        inside[:] = [name for name in inside if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if name.endswith(SUFFIX))


def load_records(logs: Path) -> list[dict[str, Any]]:
    """The records of all jobs below a folder of logs, first to last."""
    records = []
    for path in sorted(_record_files(logs)):
        record = read_json(path)
        if not isinstance(record, dict) or "ended" not in record:
            raise UserError(f"{path}: not a record of a job; delete it")
        records.append(record)
    return sorted(records, key=lambda record: record["ended"])
