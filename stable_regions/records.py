"""What each job did: a record beside its log, with the hashes of all that it read and made.

Records hold times and machines, so they lie with the logs: results hold neither, and two clean runs
give the same bytes.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stable_regions.errors import UserError
from stable_regions.files import METADATA_KEY, atomic, read_json, sha256
from stable_regions.privacy import discreet, homeless
from stable_regions.provenance import PACKAGE, machine, versions

ROOT = PACKAGE.parent
SUFFIX = ".record.json"
# Packages whose modules go by another name.
PACKAGE_OF_MODULE = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}


def identity(path: str | Path) -> str:
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


def named(path: str | Path) -> str:
    """A file's name in records: relative to the working directory, or else to the checkout."""
    for base in (Path.cwd(), ROOT):
        if Path(path).is_absolute() and Path(path).is_relative_to(base):
            return Path(path).relative_to(base).as_posix()
    return homeless(str(path))


def found(name: str) -> Path:
    """Where a file named in a record lies."""
    path = Path(name).expanduser()
    return path if path.exists() or path.is_absolute() else ROOT / path


def now() -> str:
    """The time, UTC, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
    """SHA-256 of the file that this interpreter's conda environment was made from, if it is in one.

    Snakemake keeps a copy of the file beside the environment.
    """
    made_from = Path(f"{sys.prefix}.yaml")
    return sha256(made_from) if made_from.is_file() else None


def _files(paths: Iterable[str], names: Mapping[str, tuple[int, int | None]]) -> dict[str, Any]:
    """Files of a job: their hashes, and how the script calls them."""
    listed = list(paths)
    return {
        "files": [{"path": named(path), "sha256": identity(path)} for path in listed],
        "names": {name: list(place) for name, place in names.items()},
    }


def facts_of(path: Path) -> dict[str, Any]:
    """What a raw file says of itself; only its metadata is read."""
    from safetensors import safe_open

    if path.suffix == ".parquet":
        stored = (pq.read_schema(path).metadata or {}).get(METADATA_KEY)
    else:
        with safe_open(path, framework="numpy") as file:
            stored = (file.metadata() or {}).get(METADATA_KEY.decode())
    return json.loads(stored) if stored else {}


def write_record(job: Any, script: Path, started: str) -> None:
    """Record what a job did, once its outputs are whole.

    Parameters
    ----------
    job
        What Snakemake hands to a script.
    started
        When the script began, as `now` gives it.
    """
    record = {
        "rule": job.rule,
        "script": named(script),
        "wildcards": dict(job.wildcards.items()),
        "params": dict(job.params.items()),
        "threads": job.threads,
        "input": _files(job.input, job.input._names),
        "output": _files(job.output, job.output._names),
        "started": started,
        "ended": now(),
        "machine": machine() | {"cores": os.cpu_count()},
        "conda": conda(),
        "versions": loaded_versions(),
    }
    dump(Path(str(job.log[0])).with_suffix(SUFFIX), record)


def dump(path: Path, value: Any) -> None:
    """Write JSON, its keys in their order: a job run again must find its parameters as they were.

    The home folder and secrets are left out.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic(path) as made:
        made.write_text(discreet(text) + "\n", encoding="utf-8")


def load_records(logs: Path) -> list[dict[str, Any]]:
    """The records of all jobs below a folder of logs, first to last."""
    records = []
    for path in sorted(logs.rglob(f"*{SUFFIX}")):
        record = read_json(path)
        if not isinstance(record, dict) or "ended" not in record:
            raise UserError(f"{path}: not a record of a job; delete it")
        records.append(record)
    return sorted(records, key=lambda record: record["ended"])
