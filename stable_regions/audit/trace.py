"""Trace a result back through tables and raw outputs to prompts, models and packages.

A target is a file of the results; a line of one of its tables (`FILE:LINE`, as an editor counts
them); the id of a claim; the name of a number that the paper reads
(`tables.sharpness.smollm2-135m.0.post_norm.median`), or a number as it is printed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from stable_regions.audit.manifest import Job, output_hash
from stable_regions.audit.records import path_digest, resolve_recorded_path, same_code
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_csv, read_json, read_parquet, read_safetensors

SHOWN = 3  # rows of a raw output
ALIKE = 20  # numbers of one look that are traced together
WIDTH = 200  # characters of settings, in the terminal
RAW = (".parquet", ".safetensors")
# A file of one model is called like it; so is the folder of the parts of one.
OF_MODEL = re.compile(r"(.+?)(\.shards|\.safetensors|\.parquet|\.check\.json)")


@dataclass
class Target:
    """What is traced: files, a description, and rows of tables."""

    name: str
    about: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def models(self) -> set[str]:
        """The models that it concerns; empty for all."""
        return {row["model"] for row in self.rows if "model" in row}


def resolve(name: str, results: Path) -> Target:
    """Resolve what a user asks to trace.

    Raises
    ------
    UserError
        There is no such file, line, claim or number; the names that there are are given.
    """
    file, _, line = name.rpartition(":")
    if line.isdigit() and resolve_recorded_path(file).is_file():
        row = _line(file, int(line))
        return Target(name, [f"line {line}: {_compact(row)}"], [file], [row])
    if resolve_recorded_path(name).exists():
        return Target(name, paths=[Path(name).as_posix()])
    claims, numbers = results / "claims.json", results / "numbers.json"
    verdicts = read_json(claims) if claims.exists() else []
    for claim in verdicts:
        if claim["id"] == name:
            return _claim(claim, results)
    tree = read_json(numbers) if numbers.exists() else {}
    keys, value, rest = _look_up(tree, name)
    if not rest and not isinstance(value, Mapping | list):
        return _number(name, keys, tree, results)
    if re.fullmatch(r"-?\d+(\.\d+)?", name):
        same = list(_printed_as(tree, name))
        if 0 < len(same) <= ALIKE:
            return _all_of(name, [resolve(one, results) for one in same])
        raise UserError(
            f"{name}: matches {len(same)} numbers of the paper"
            + (f", the first: {'; '.join(same[:3])}; give one of them by name" if same else "")
        )
    inside = (
        ", ".join(map(str, list(value)[:30])) if isinstance(value, Mapping) else "numbered rows"
    )
    where = ".".join(keys) or "its numbers"
    raise UserError(
        f"{name}: no such file, claim or number of the paper; the claims are "
        f"{', '.join(c['id'] for c in verdicts)}, and in {where} there are {inside}"
    )


def _all_of(name: str, targets: list[Target]) -> Target:
    """Several targets as one: all numbers that a printed one may be."""
    parts = ("about", "paths", "rows")
    about, paths, rows = ([x for t in targets for x in getattr(t, part)] for part in parts)
    return Target(name, about, list(dict.fromkeys(paths)), rows)


def _line(file: str, number: int) -> dict[str, Any]:
    if not file.endswith(".csv"):
        raise UserError(f"{file}: only lines of CSV files can be traced")
    table = read_csv(resolve_recorded_path(file))
    if not 2 <= number <= len(table) + 1:
        raise UserError(f"{file}: has rows in lines 2 to {len(table) + 1}, not in {number}")
    return {str(k): v for k, v in table.iloc[number - 2].to_dict().items()}


def _claim(claim: Mapping[str, Any], results: Path) -> Target:
    """A claim: its estimates, and the tables and raw outputs that they are of."""
    target = Target(
        claim["id"],
        [f"{claim['statement']} ({claim['whose']}, {claim['place']}): {claim['verdict']}"],
    )
    for test in claim["tests"]:
        limit = "above" if test["above"] is not None else "below"
        for one in test["estimates"]:
            ends = "no interval"
            if one["low"] is not None:
                ends = f"[{one['low']:.4g}, {one['high']:.4g}]"
            target.about.append(
                f"{test['estimand']}, {one['of']}: {one['value']:.4g} {ends}, "
                f"must be {limit} {test[limit]}: {one['outcome']}"
            )
            layer = test.get("layer", (test.get("where") or {}).get("layer"))
            where = {} if layer is None else {"layer": layer}
            target.rows += [{"model": model, **where} for model in one["models"]]
        if "table" in test:
            target.paths.append((results / "tables" / f"{test['table']}.csv").as_posix())
        else:
            raw = (p for p in sorted(results.glob(f"*/{test['raw']}/*")) if p.suffix in RAW)
            target.paths += [p.as_posix() for p in raw if p.parent.parent.name != "activations"]
    target.paths = [
        path for path in dict.fromkeys(target.paths) if resolve_recorded_path(path).exists()
    ]
    return target


def _look_up(tree: Any, name: str) -> tuple[list[str], Any, str]:
    """The keys along a dotted name, the value there, and the keys that do not exist.

    Keys may have dots in them.
    """
    keys: list[str] = []
    while name:
        names = [str(key) for key in (range(len(tree)) if isinstance(tree, list) else tree)]
        fitting = [key for key in names if name == key or name.startswith(f"{key}.")]
        if not fitting:
            break
        key = max(fitting, key=len)
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
        keys.append(key)
        name = name[len(key) + 1 :]
        if not isinstance(tree, Mapping | list):
            break
    return keys, tree, name


def _number(name: str, keys: list[str], tree: Mapping[str, Any], results: Path) -> Target:
    """A number of the paper: the table that it is from, and the row."""
    value = _look_up(tree, name)[1]
    target = Target(name, [f"{name} is {value} in {results / 'numbers.json'}"])
    file = results / "tables" / f"{keys[1] if keys[0] == 'tables' else keys[0]}.csv"
    if not file.exists():
        return Target(name, target.about, [(results / "numbers.json").as_posix()])
    table = read_csv(file)
    leaf = _look_up(tree, ".".join(keys[:-1]))[1]
    key_columns = [column for column in table.columns if column not in leaf]
    key_values = sorted(keys[2:-1]) if key_columns else None
    for number, row in enumerate(table.to_dict("records")):
        fits = (
            sorted(str(row[column]) for column in key_columns) == key_values
            if key_columns
            else keys[-2] == str(number)
        )
        if fits:
            target.about.append(f"line {number + 2} of {file}: {_compact(row)}")
            target.rows.append({str(key): value for key, value in row.items()})
    target.paths.append(file.as_posix())
    return target


def _printed_as(tree: Any, text: str, name: str = "") -> Iterator[str]:
    """The names of the numbers that round to this text, or do so as per cent."""
    if isinstance(tree, Mapping | list):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _printed_as(value, text, f"{name}.{key}".strip("."))
    elif type(tree) in (int, float):
        decimals = len(text.partition(".")[2])
        if text in (f"{tree:.{decimals}f}", f"{100 * tree:.{decimals}f}"):
            yield name


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


# Steps


def model_of(path: str) -> str | None:
    """The model that a file belongs to, by the file's name."""
    parts = Path(path).parts
    if parts[:2] == ("resources", "models"):
        return parts[2]
    if parts[0] != "results" or len(parts) < 5 or parts[2] in ("prompts", "clustering"):
        return None
    for part in parts[-2:]:
        if fits := OF_MODEL.fullmatch(part):
            return fits[1]
    return None


def trace(target: Target, jobs: list[Job]) -> dict[str, dict[str, Any]]:
    """Every file that a target was made from, by path.

    Parameters
    ----------
    jobs
        Records, with their machine and versions; of two that made a file, the last one counts.

    Returns
    -------
    By path: `sha256` (None if the file is gone), `state`, `job` (None without a record), `from`
    (the paths that the job read; of a job on several models, those of the file's own), `model` (of
    a model's folder: what its `source.json` says), `rows` (of raw outputs: how many of them the
    target is about, and the first with their prompts).
    """
    makers: dict[str, list[Job]] = {}
    for known_job in jobs:
        for file in known_job["output"]["files"]:
            makers.setdefault(file["path"], []).append(known_job)
    steps: dict[str, dict[str, Any]] = {}
    todo: list[tuple[str, str | None]] = [(path, None) for path in target.paths]
    while todo:
        path, read_as = todo.pop()
        if path in steps:
            continue
        place = resolve_recorded_path(path)
        digest = path_digest(place) if place.exists() else None
        makers_of_path = makers.get(path, [])
        fitting = [job for job in makers_of_path if output_hash(job, path) == (digest or read_as)]
        chosen = fitting or makers_of_path
        job: dict[str, Any] | None = chosen[-1] if chosen else None
        if digest is None:
            state = "missing; its job's record is left"
        elif makers_of_path and not fitting:
            state = "CHANGED since its job wrote it"
        elif read_as not in (None, digest):
            state = "CHANGED since it was read"
        else:
            state = "as its job wrote it" if job else "as it was read" if read_as else "as on disk"
        step: dict[str, Any] = {
            "sha256": digest or read_as,
            "state": state,
            "job": None,
            "from": [],
        }
        steps[path] = step
        if job:
            step["job"] = _job(job)
            inputs = _relevant(path, job, target)
            step["from"] = [file["path"] for file in inputs]
            todo += [(file["path"], file["sha256"]) for file in inputs]
        if (place / "source.json").is_file():
            step["model"] = read_json(place / "source.json")
    for path, step in steps.items():
        if path.endswith(RAW) and model_of(path) and "/activations/" not in path and step["sha256"]:
            step["rows"] = _rows(path, target, steps)
    return steps


def _relevant(path: str, job: Job, target: Target) -> list[dict[str, str]]:
    """The inputs of a job that matter to a file of one model, or to a target about some models."""
    own = model_of(path)
    models = {own} if own else target.models
    inputs = job["input"]["files"]
    models_read = [model_of(file["path"]) for file in inputs]
    if not models & set(models_read):
        return inputs
    return [
        f for f, name in zip(inputs, models_read, strict=True) if name is None or name in models
    ]


def _job(job: Job) -> dict[str, Any]:
    params = dict(job["params"])
    code = params.pop("code", None)
    seconds = (
        datetime.fromisoformat(job["ended"]) - datetime.fromisoformat(job["started"])
    ).total_seconds()
    return {
        "rule": job["rule"],
        "script": job["script"],
        "code": code,
        "code_is_this_checkout": same_code(job),
        "params": params,
        "seeds": sorted(set(_seeds(params))),
        "threads": job["threads"],
        "started": job["started"],
        "seconds": seconds,
        "machine": job["machine"],
        "versions": job["versions"],
    }


def _seeds(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        if isinstance(value.get("seed"), int):
            yield value["seed"]
        for inner in value.values():
            yield from _seeds(inner)


def _rows(path: str, target: Target, steps: Mapping[str, Any]) -> dict[str, Any] | None:
    """The rows of a raw output that a target is about, and the prompts of the first of them."""
    place = resolve_recorded_path(path)
    if not place.exists():
        return None
    if path.endswith(".parquet"):
        table, facts = read_parquet(place)
    else:
        facts = read_safetensors(place, framework="numpy")[1]
        count = facts["experiment"].get("triples")
        table = pd.DataFrame({"triple": range(count)} if count else {})
    rows = [row for row in target.rows if row.get("model") in (None, facts["model"])]
    keys = [k for k in ("layer", "pair", "triple", "choice", "value") if k in table]
    if rows:
        conditions = [{k: str(row[k]) for k in keys if k in row} for row in rows]
        text = table[keys].astype(str)
        mask = pd.Series(False, index=table.index)
        for some in conditions:
            fits = pd.Series(True, index=table.index)
            for key, value in some.items():
                fits &= text[key] == value
            mask |= fits
        table = table[mask]
    name, set_name = facts["model"].partition("@")[0], facts["experiment"]["prompts"]
    file = next(
        (p for p in steps if p.endswith(f"/prompts/{set_name}/{name}.prompts.parquet")), None
    )
    prompts = (
        read_parquet(resolve_recorded_path(file))[0]
        if file and resolve_recorded_path(file).exists()
        else None
    )
    first = []
    for row in table.head(SHOWN).to_dict("records"):
        values = {key: row[key] for key in keys}
        if "triple" in row:
            used = {c: 3 * row["triple"] + i for i, c in enumerate("abc")}
        else:
            used = {side: row[f"prompt_{side}"] for side in "ab" if f"prompt_{side}" in row}
        if prompts is not None and row.get("choice") != "corpus":
            texts = prompts.set_index("prompt")["text"]
            values |= {f"prompt_{c}": {"number": int(n), "text": texts[n]} for c, n in used.items()}
        first.append(values)
    return {"count": len(table), "prompts": file, "first": first}


# What is shown


def as_json(target: Target, steps: Mapping[str, Any]) -> dict[str, Any]:
    """The whole trace, as plain values."""
    return {**asdict(target), "steps": steps}


def lines(target: Target, steps: Mapping[str, Any]) -> Iterator[str]:
    """The trace as a tree; what several steps share is printed once."""
    machines: list[Any] = []
    packages: list[Any] = []
    yield from target.about
    printed_jobs: set[str] = set()
    for path in target.paths:
        yield from _branch(path, steps, printed_jobs, machines, packages, "", "")
    for number, one in enumerate(machines, 1):
        yield f"machine {number}: {', '.join(f'{key} {value}' for key, value in one.items())}"
    for number, one in enumerate(packages, 1):
        yield f"packages {number}: {', '.join(f'{name} {value}' for name, value in one.items())}"


def _branch(
    path: str,
    steps: Mapping[str, Any],
    printed_jobs: set[str],
    machines: list[Any],
    packages: list[Any],
    first: str,
    rest: str,
) -> Iterator[str]:
    step = steps[path]
    if path in printed_jobs:
        yield f"{first}{path} (see above)"
        return
    printed_jobs.add(path)
    yield f"{first}{path}"
    inner = rest + ("│  " if step["from"] else "   ")
    yield f"{inner}SHA-256 {step['sha256']}, {step['state']}"
    if (job := step["job"]) is not None:
        same = {True: ", as in this checkout", False: ", another in this checkout"}
        yield (
            f"{inner}rule {job['rule']}, {job['script']}, code {job['code']}"
            f"{same[job['code_is_this_checkout']]}"
        )
        yield (
            f"{inner}{job['seconds']:.1f} s from {job['started'][:19].replace('T', ' ')} UTC, "
            f"{job['threads']} thread(s), seed {', '.join(map(str, job['seeds'])) or 'none'}, "
            f"machine {_number_of(job['machine'], machines)}, "
            f"packages {_number_of(job['versions'], packages)}"
        )
        if job["params"]:
            text = _compact(job["params"])
            yield f"{inner}config {text if len(text) <= WIDTH else text[: WIDTH - 4] + ' ...'}"
    for name, digest in step.get("model", {}).get("files", {}).items():
        yield f"{inner}{name}: SHA-256 {digest}"
    if "model" in step:
        yield f"{inner}licence {step['model']['licence']}"
    if (rows := step.get("rows")) is not None:
        yield f"{inner}{rows['count']} rows"
        for row in rows["first"]:
            texts = {k: v["text"] for k, v in row.items() if isinstance(v, Mapping)}
            keys = ", ".join(f"{k} {v}" for k, v in row.items() if k not in texts)
            yield f"{inner}- {keys}: " + " | ".join(map(repr, texts.values()))
    for index, inside in enumerate(step["from"]):
        last = index == len(step["from"]) - 1
        yield from _branch(
            inside, steps, printed_jobs, machines, packages,
            rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "),
        )  # fmt: skip


def _number_of(one: Any, values: list[Any]) -> int:
    if one not in values:
        values.append(one)
    return values.index(one) + 1
