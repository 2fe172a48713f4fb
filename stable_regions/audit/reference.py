"""A digest of a study's results to compare later runs with: numbers, claims and hashes.

Three answers are possible. *Identical bytes*: the raw outputs are the same files. *The same within
tolerance*: another processor gives other last bits, and after a training other weights; each
estimate is then within `TOLERANCE` of the reference's, or, of a model with other weights, has an
interval that overlaps the reference's, and each claim has the same verdict. Otherwise *different*.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stable_regions.audit.records import facts_of
from stable_regions.base.errors import UserError
from stable_regions.base.files import atomic, read_json, sha256

# As a part of itself, or absolutely where it is below one: rounding moves a single max slope by no
# more (`independent.TOLERANCE`), and a median of many by less.
TOLERANCE = 1e-3
VALUES = ("median", "value", "score", "difference", "ratio", "rate")
DATA = (".parquet", ".safetensors", ".csv")
Interval = list[float]  # a value, and the low and the high end of its interval


def _rounded(*numbers: float) -> Interval:
    return [float(f"{number:.6g}") for number in numbers]


def _estimates(tree: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, Interval]]:
    """The numbers with an interval, in all tables with key columns."""
    if not isinstance(tree, Mapping):
        return
    value = next((tree[key] for key in VALUES if key in tree), None)
    if value is not None and tree.get("ci_low") is not None:
        yield "/".join(name), _rounded(value, tree["ci_low"], tree["ci_high"])
        return
    for key, inner in tree.items():
        yield from _estimates(inner, (*name, key))


def digest(results: Path) -> dict[str, Any]:
    """The digest of a finished study.

    Returns
    -------
    `study`; `machines` and `versions` that the raw outputs are of; `weights`, the hashes of each
    model's; `data`, the hash of each raw output and table; `estimates` by `<table>/<keys>`: value,
    low and high end of the interval, with six digits; `claims`: verdict, models, estimates,
    and the outcome on what else it was tried on.
    """
    for name in ("numbers.json", "claims.json"):
        if not (results / name).exists():
            raise UserError(f"{results / name}: missing: finish the study first")
    data, weights = {}, {}
    machines: list[Any] = []
    versions: list[Any] = []
    for path in sorted(results.rglob("*")):
        if path.suffix not in DATA or path.name.startswith("."):
            continue
        data[path.relative_to(results).as_posix()] = sha256(path)
        facts = facts_of(path) if path.suffix != ".csv" else {}
        if "engine" in facts:
            files = facts["files"]
            own = {name: files[name] for name in sorted(files) if name.endswith(".safetensors")}
            weights[facts["model"]] = own
            for values, one in ((machines, facts["machine"]), (versions, facts["versions"])):
                if one not in values:
                    values.append(one)
    numbers, claims = read_json(results / "numbers.json"), read_json(results / "claims.json")
    return {
        "study": numbers["study"]["name"],
        "machines": machines,
        "versions": versions,
        "weights": weights,
        "data": data,
        "estimates": dict(_estimates(numbers["tables"])),
        "claims": {
            claim["id"]: {
                "verdict": claim["verdict"],
                "models": claim["models"],
                "also": {one["what"]: one["outcome"] for one in claim["also"]},
                "estimates": {
                    f"{test['estimand']}, {one['of']}": _rounded(
                        one["value"], one["low"], one["high"]
                    )
                    for test in claim["tests"]
                    for one in test["estimates"]
                    if one["low"] is not None
                },
            }
            for claim in claims
        },
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a digest as JSON, an estimate a line."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    with atomic(path) as target:
        target.write_text(text + "\n", encoding="utf-8")


def _same(a: Interval, b: Interval, retrained: bool) -> bool:
    if all(
        math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for x, y in zip(a, b, strict=True)
    ):
        return True
    return retrained and a[1] <= b[2] and b[1] <= a[2]


def differences(reference: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Every estimate and verdict that is different, a line each."""
    other = {
        model
        for model, files in reference["weights"].items()
        if current["weights"].get(model) != files
    }

    def unequal(
        old: Mapping[str, Interval], new: Mapping[str, Interval], retrained: bool | None
    ) -> Iterator[str]:
        for name in dict.fromkeys([*old, *new]):
            if name not in new or name not in old:
                yield f"{name}: is in {'this run' if name in new else 'the reference'} alone"
                continue
            of_others = not other.isdisjoint(name.split("/")) if retrained is None else retrained
            if not _same(old[name], new[name], of_others):
                (a, a_low, a_high), (b, b_low, b_high) = old[name], new[name]
                yield (
                    f"{name}: {b:g} [{b_low:g}, {b_high:g}], "
                    f"and {a:g} [{a_low:g}, {a_high:g}] in the reference"
                )

    lines = list(unequal(reference["estimates"], current["estimates"], None))
    for name in dict.fromkeys([*reference["claims"], *current["claims"]]):
        a, b = reference["claims"].get(name), current["claims"].get(name)
        if a is None or b is None or a["verdict"] != b["verdict"]:
            verdicts = [one["verdict"] if one else "not made" for one in (b, a)]
            lines.append(f"claim {name}: {verdicts[0]}, and {verdicts[1]} in the reference")
        else:
            retrained = not other.isdisjoint(a["models"])
            inside = unequal(a["estimates"], b["estimates"], retrained)
            lines += [f"claim {name}, {line}" for line in inside]
    return lines


def compare(reference: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a run with the reference.

    Returns
    -------
    `line`, one line; `other_bytes`, the raw outputs and tables that are other files;
    `differences`, a line each.
    """
    names = dict.fromkeys([*reference["data"], *current["data"]])
    other = [name for name in names if reference["data"].get(name) != current["data"].get(name)]
    wrong = differences(reference, current)
    counts = f"{len(current['estimates'])} estimates and {len(current['claims'])} claims"
    if wrong:
        line = f"DIFFERENT in {len(wrong)} places, the first: {wrong[0]}"
    elif not other:
        line = f"identical bytes: {len(names)} raw outputs and tables, and with them {counts}"
    else:
        line = (
            f"the same within tolerance: {counts}; {len(other)} of {len(names)} raw outputs and "
            "tables have other bytes"
        )
    if other and reference["machines"] != current["machines"]:
        here, there = (
            " and ".join(one["processor"] or "an unnamed processor" for one in digest["machines"])
            for digest in (current, reference)
        )
        line += f" (this is {here}, the reference is of {there}: other last bits are expected)"
    elif other and reference["versions"] != current["versions"]:
        line += " (the reference is of other versions of packages)"
    return {"line": line, "other_bytes": other, "differences": wrong}
