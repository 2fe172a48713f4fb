"""Verify a finished study: against its manifest, its raw outputs and its models.

Four questions, from the cheap to the dear: is every file as the manifest has it; does each fit the
files that it was made from; do the tables, figures, claims and the paper come out of the raw
outputs again; does a random sample of the raw outputs come out of the models again. Minutes, not
the whole run.
"""

import json
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from stable_regions.audit.crate_pages import preview
from stable_regions.audit.manifest import (
    CODE,
    CRATE,
    LEFT_OUT,
    NAME,
    PREVIEW,
    README,
    TEMPORARY,
    Job,
    code_files,
    output_hash,
    result_files,
)
from stable_regions.audit.provenance import machine
from stable_regions.audit.records import (
    ROOT,
    facts_of,
    path_digest,
    resolve_recorded_path,
    same_code,
)
from stable_regions.audit.replay import outputs, replay
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_csv, read_json, read_parquet, sha256
from stable_regions.base.progress import log

# What a number may differ by, as a part of itself, where another machine or other packages
# recompute a table: they are written with nine digits.
TOLERANCE = 1e-6
NUMBERS = (".csv", ".json", ".parquet")  # files whose numbers are compared
NAMED = 20  # missing files that have a line of their own


@dataclass
class Report:
    """What was checked, what could not be, and what differs: a line each."""

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    _told: int = 0

    def tell(self) -> None:
        """Log what differs and has not been logged, so that a changed file is known at once."""
        for line in self.different[self._told :]:
            log.info("different: %s", line)
        self._told = len(self.different)


def shown(paths: list[str]) -> str:
    """A list of files in one line: the first three, and the number of others."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def check_files(
    manifest: Mapping[str, Any], results: Path, records: list[Job], report: Report
) -> None:
    """Check every file of the results against its hash in the manifest."""
    recorded = manifest["files"]
    owner = {entry["sha256"]: path for path, entry in recorded.items()}
    size = 0
    note = results / LEFT_OUT
    left_out = set(read_json(note)) if note.is_file() else set[str]()
    absent: list[str] = []
    missing: list[str] = []
    for path, entry in recorded.items():
        if not Path(path).is_file():
            (absent if path in left_out else missing).append(path)
            continue
        size += Path(path).stat().st_size
        digest = sha256(path)
        if digest == entry["sha256"]:
            continue
        elsewhere = owner.get(digest)
        report.different.append(
            f"{path}: holds the content of {elsewhere}"
            if elsewhere
            else f"{path}: changed, its SHA-256 is {digest[:16]} and was {entry['sha256'][:16]}"
        )
    report.different += [f"{path}: missing" for path in missing[:NAMED]]
    if rest := missing[NAMED:]:
        report.different.append(f"{len(rest)} more files: missing: {shown(rest)}")
    for path in result_files(results):
        if path in recorded:
            continue
        rules = [job["rule"] for job in records if output_hash(job, path) == sha256(path)]
        if rules:
            report.unchecked.append(f"{path}: made after the manifest, by the rule {rules[-1]}")
        else:
            report.different.append(f"{path}: not in the manifest, and no recorded job made it")
    report.checked.append(
        f"{len(recorded) - len(absent)} files of {results} against {NAME}, "
        f"{size / 1e6:.0f} MB in all"
    )
    if absent:
        report.unchecked.append(f"{len(absent)} files were left out on purpose: {shown(absent)}")
    if alone := [path for path, entry in recorded.items() if entry["job"] is None]:
        report.unchecked.append(f"{len(alone)} files without a recorded job: {shown(alone)}")


def check_crate(manifest: Mapping[str, Any], results: Path, report: Report) -> None:
    """Check the manifest and the copied code against the hashes in the RO-Crate.

    The crate in turn is a function of the manifest and the code: it must come out the same again.
    """
    path = results / CRATE
    if not path.is_file():
        report.different.append(f"{path}: missing")
        return
    try:
        metadata = read_json(path)
        entities = {entity["@id"]: entity for entity in metadata["@graph"]}
    except (UserError, KeyError, TypeError):
        report.different.append(f"{path}: not a readable RO-Crate")
        return
    names = [NAME, README, *(name for name in entities if name.startswith(f"{CODE}/"))]
    on_disk = {path.relative_to(results).as_posix() for path in code_files(results)}
    wrong = []
    for name in names:
        if not (results / name).is_file():
            wrong.append(f"{results / name}: missing")
        elif sha256(results / name) != entities.get(name, {}).get("sha256"):
            wrong.append(f"{results / name}: does not match its hash in {CRATE}")
    added = sorted(on_disk - set(names))
    wrong += [f"{results / name}: not in {CRATE}" for name in added]
    report.different += wrong
    if not wrong:
        from stable_regions.audit.crate import describe  # its library is needed for nothing else

        if describe(results, manifest) != metadata:
            report.different.append(f"{path}: does not match the manifest")
        page = results / PREVIEW
        if not page.is_file():
            report.different.append(f"{page}: missing")
        elif page.read_bytes() != preview(metadata).encode():
            report.different.append(f"{page}: does not match {CRATE}")
    report.checked.append(f"{len(names)} files against {CRATE}, and that against {NAME}")


def check_chain(manifest: Mapping[str, Any], report: Report) -> None:
    """Check that jobs read what other jobs made, and that files are what their jobs made."""
    jobs: list[Job] = manifest["jobs"]
    digests = {
        path: entry["sha256"] for path, entry in {**manifest["files"], **manifest["inputs"]}.items()
    }
    made = [{f["path"]: f["sha256"] for f in job["output"]["files"]} for job in jobs]
    outputs = {file for files in made for file in files.items()}
    links = 0
    for job in jobs:
        for file in job["input"]["files"]:
            links += 1
            path, digest = file["path"], file["sha256"]
            if digests.get(path) != digest and (path in digests or (path, digest) not in outputs):
                first = job["output"]["files"][0]["path"]
                report.different.append(f"{first}: made from another {path} than the manifest has")
    for path, entry in {**manifest["files"], **manifest["inputs"]}.items():
        if entry["job"] is not None and made[entry["job"]].get(path) != entry["sha256"]:
            report.different.append(f"{path}: does not match the output of its recorded job")
    report.checked.append(
        f"{len(jobs)} jobs: each of their {links} inputs matches the job that made it"
    )


def check_inputs(manifest: Mapping[str, Any], report: Report) -> None:
    """Check models, texts and packages against their hashes, models file by file."""
    missing, edited, checked = [], [], 0
    for path, entry in manifest["inputs"].items():
        if TEMPORARY.search(path):
            continue
        place = resolve_recorded_path(path)
        if not place.exists():
            missing.append(path)
            continue
        checked += 1
        if path_digest(place) != entry["sha256"]:
            if path.startswith("resources/") or place != ROOT / path:
                report.different.append(f"{path}: differs from the input of the results")
            else:
                edited.append(path)
            continue
        for name, digest in entry.get("source", {}).get("files", {}).items():
            if not (place / name).is_file():
                report.different.append(f"{path}/{name}: missing")
            elif sha256(place / name) != digest:
                report.different.append(f"{path}/{name}: differs from the input of the results")
    report.checked.append(f"{checked} models, texts and other inputs against their hashes")
    if missing:
        report.unchecked.append(f"{len(missing)} inputs are missing: {shown(missing)}")
    if edited:
        report.unchecked.append(
            f"{len(edited)} files of the code differ in this checkout: {shown(edited)}"
        )
    other = [job["script"] for job in manifest["jobs"] if not same_code(job)]
    if other:
        report.unchecked.append(
            f"scripts that differ in this checkout: {shown(sorted(set(other)))}"
        )


def same_place(manifest: Mapping[str, Any], job: Job) -> bool:
    """Whether machine and packages are those of a job, which then must give the same bytes."""

    def now(name: str) -> str | None:
        try:
            return platform.python_version() if name == "python" else metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    then = manifest["machines"][job["machine"]]
    environment = manifest["environments"][job["environment"]]
    return all(then[key] == value for key, value in machine().items()) and all(
        now(name) == version for name, version in environment.items()
    )


def summaries(manifest: Mapping[str, Any], results: Path) -> list[Job]:
    """The jobs that made results without running a model.

    Only a script of this checkout is ever run, and only files below the results are named anew: a
    manifest may come from anywhere.
    """
    own = {f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.py")}
    return [
        job
        for job in manifest["jobs"]
        if job["script"] in own
        and not any(".." in Path(f["path"]).parts for f in job["output"]["files"])
        and "torch" not in manifest["environments"][job["environment"]]
        and all(Path(f["path"]).is_relative_to(results) for f in job["output"]["files"])
        and not any(TEMPORARY.search(f["path"]) for f in job["input"]["files"])
    ]


def check_summaries(
    manifest: Mapping[str, Any], results: Path, scratch: Path, processes: int, report: Report
) -> None:
    """Rebuild tables, clusters, figures, claims and the paper from the raw outputs."""
    jobs = summaries(manifest, results)
    again: list[Job] = []
    left_out: list[Job] = []
    entries = {**manifest["files"], **manifest["inputs"]}
    for job in jobs:
        fit = all(
            resolve_recorded_path(f["path"]).exists()
            and path_digest(resolve_recorded_path(f["path"])) == f["sha256"]
            for f in job["input"]["files"]
        )
        (again if fit and same_code(job) else left_out).append(job)
    count, close = 0, []
    for replayed, failed in replay(again, scratch, processes):
        log.info("rebuilt: %s", replayed["output"]["files"][0]["path"])
        # the paper also shows run times, from benchmark files that may be missing or newer
        exact = same_place(manifest, dict(replayed)) and "benchmarks" not in replayed["params"]
        for path, file in outputs(replayed, scratch).items():
            if path not in entries:
                continue
            if failed or not file.is_file():
                report.different.append(f"{path}: cannot be rebuilt: {failed or 'no file'}")
                continue
            count += 1
            if sha256(file) == entries[path]["sha256"]:
                continue
            differs = difference(Path(path), file) if Path(path).suffix in NUMBERS else None
            if exact or differs:
                report.different.append(f"{path}: rebuilt file differs: {differs or 'other bytes'}")
            else:
                close.append(path)
    report.checked.append(
        f"{count} files rebuilt from raw outputs, {count - len(close)} of them with the same bytes"
    )
    if close:
        report.unchecked.append(
            f"{len(close)} rebuilt files have other bytes (other machine, packages or run times); "
            f"numbers agree to {TOLERANCE:.0e}, pictures and pages not compared: {shown(close)}"
        )
    by_model = [
        file["path"]
        for job in manifest["jobs"]
        if "torch" in manifest["environments"][job["environment"]]
        for file in job["output"]["files"]
        if file["path"] in manifest["files"] and Path(file["path"]).suffix in (".csv", ".json")
    ]
    if by_model:
        report.unchecked.append(
            f"{len(by_model)} load checks and tables that need a model: hashes compared, values "
            f"not recomputed: {shown(by_model)}"
        )
    if left_out:
        names = [job["output"]["files"][0]["path"] for job in left_out]
        report.unchecked.append(
            f"{len(left_out)} jobs not rerun, as their inputs or code are missing or changed: "
            f"{shown(names)}"
        )


def difference(old: Path, new: Path) -> str | None:
    """The first place where two tables or JSON files differ by more than the tolerance."""
    if old.suffix == ".json":
        return next(_differences(read_json(old), read_json(new), "", rel=TOLERANCE), None)
    read = read_csv if old.suffix == ".csv" else lambda path: read_parquet(path)[0]
    a, b = read(old), read(new)
    if list(a.columns) != list(b.columns) or len(a) != len(b):
        return f"{len(a)} rows of {len(a.columns)} columns, and {len(b)} of {len(b.columns)}"
    for name in a.columns:
        for row, (x, y) in enumerate(zip(a[name].tolist(), b[name].tolist(), strict=True), 1):
            for place in _differences(_plain(x), _plain(y), f"row {row}, {name}", rel=TOLERANCE):
                return place
    return None


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _differences(a: Any, b: Any, where: str, rel: float) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _differences(a.get(key), b.get(key), f"{where}.{key}".strip("."), rel)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(x, y, f"{where}[{index}]", rel)
    elif isinstance(a, float) and isinstance(b, float):
        if not (math.isclose(a, b, rel_tol=rel, abs_tol=rel) or (math.isnan(a) and math.isnan(b))):
            yield f"{where}: {a!r} and {b!r}"
    elif a != b:
        yield f"{where}: {json.dumps(a)[:60]} and {json.dumps(b)[:60]}"


def raw_of_models(manifest: Mapping[str, Any], results: Path) -> dict[str, list[Path]]:
    """The raw outputs and the activations of each model, by their own metadata."""
    raw: dict[str, list[Path]] = {}
    for name in manifest["files"]:
        path = Path(name)
        if path.suffix in (".parquet", ".safetensors") and path.is_file():
            try:
                facts = facts_of(path)
            except UserError:  # changed, which the check of hashes reports
                continue
            if "engine" in facts:
                raw.setdefault(facts["model"], []).append(path)
    return raw


def check_samples(
    manifest: Mapping[str, Any], results: Path, models: Path, seed: int, report: Report
) -> None:
    """Recompute a random sample of the raw outputs of each model through the model."""
    from stable_regions.audit import sample as sampling
    from stable_regions.experiments.kinds import module_of
    from stable_regions.models.load import load_model

    changed = {line.partition(": ")[0] for line in report.different}
    values, worst, place, used, absent = 0, 0.0, "", 0, []
    not_sampled = set()
    for ref, paths in raw_of_models(manifest, results).items():
        paths = [path for path in paths if str(path) not in changed]
        folder = models / ref
        touched = any(place.startswith(f"{folder}") for place in changed)
        if not folder.is_dir() or touched or not paths:
            absent.append(ref)
            continue
        facts = facts_of(paths[0])
        model = load_model(
            folder,
            dtype=facts["dtype"],
            device=facts["compute"]["device"],
            device_map=facts["compute"].get("device_map"),
            engine=facts["compute"].get("engine", "auto"),
            threads=facts["compute"]["threads"],
        )
        used += 1
        kinds = [facts_of(path).get("experiment", {}).get("kind") for path in paths]
        samples = {kind: module_of(kind, "sample") for kind in kinds if kind is not None}
        by_pair = sum(bool(getattr(samples.get(kind), "BY_PAIR", False)) for kind in kinds)
        for path, kind in zip(paths, kinds, strict=True):
            if kind is not None and samples[kind] is None:
                not_sampled.add(f"of {kind}: none, as this kind has no sample")
                continue
            own_facts = facts_of(path)
            prompts = own_facts["experiment"]["prompts"] if kind else path.parent.name
            file = results / "prompts" / prompts / f"{ref.partition('@')[0]}.prompts.parquet"
            if str(file) in changed or not file.is_file():
                continue
            pairs = -(-sampling.PAIRS // max(by_pair, 1))
            for one in sampling.sample(model, path, read_parquet(file)[0], seed, pairs):
                values += one.values
                if one.worst > worst:
                    worst, place = one.worst, f"{one.quantity} of {path}"
                if one.worst > 1:
                    report.different.append(
                        f"{path}: {one.quantity} differs when recomputed: off by {one.worst:.3g} "
                        "times the tolerance"
                    )
            if rest := getattr(samples.get(kind), "NOT_SAMPLED", ""):
                not_sampled.add(f"of {kind}: {rest}")
        log.info("sampled: %s, %d files", ref, len(paths))
    report.checked.append(
        f"{values} numbers drawn from the raw outputs of {used} models, recomputed through them: "
        f"the largest difference is {worst:.2g} of the tolerance" + (f" ({place})" if place else "")
    )
    if not_sampled:
        report.unchecked.append(f"raw outputs, not sampled {'; '.join(sorted(not_sampled))}")
    if absent:
        report.unchecked.append(
            f"raw outputs of {len(absent)} models not sampled, as the model or the outputs are "
            f"missing or changed: {shown(absent)}"
        )
