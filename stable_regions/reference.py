"""A digest of a study's results to hold a later run against: numbers, claims, and hashes.

Three answers are possible. *Identical bytes*: the raw outputs are the same files. *The same within
tolerance*: another processor gives other last bits, and after a training other weights; each
estimate is then within `TOLERANCE` of the reference's, or, of a model with other weights, has an
interval that overlaps the reference's, and each claim has the same verdict. Otherwise *different*.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stable_regions.errors import UserError
from stable_regions.files import read_json, sha256
from stable_regions.records import facts_of

# As a part of itself, or absolutely where it is below one: rounding moves a single max slope by no
# more (`second_road.TOLERANCE`), and a median of many by less.
TOLERANCE = 1e-3
VALUES = ("median", "value", "score", "difference")
KEPT = (*VALUES, "q25", "q75", "ci_low", "ci_high", "pairs")


def _estimates(tree: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, float]]]:
    """The numbers with an interval, in all tables that are looked up by keys."""
    if not isinstance(tree, Mapping):
        return
    if "ci_low" in tree and any(value in tree for value in VALUES):
        yield "/".join(name), {key: tree[key] for key in KEPT if key in tree}
        return
    for key, inner in tree.items():
        yield from _estimates(inner, (*name, key))


def digest(results: Path) -> dict[str, Any]:
    """What is kept of a finished study.

    Returns
    -------
    `study`; `machines` and `versions` that the raw outputs are of; `weights`, a hash a model;
    `raw`, a hash a raw output; `estimates` by `<table>/<keys>`; `claims`: verdict and estimates.
    """
    for name in ("numbers.json", "claims.json"):
        if not (results / name).exists():
            raise UserError(f"{results / name}: is not there; finish the study first")
    raw, weights = {}, {}
    machines: list[Any] = []
    versions: list[Any] = []
    for path in sorted(results.rglob("*")):
        if path.suffix not in (".parquet", ".safetensors") or path.name.startswith("."):
            continue
        raw[path.relative_to(results).as_posix()] = sha256(path)
        facts = facts_of(path)
        if "engine" in facts:
            files = facts["files"]
            own = {name: files[name] for name in sorted(files) if name.endswith(".safetensors")}
            weights[facts["model"]] = own
            for known, one in ((machines, facts["machine"]), (versions, facts["versions"])):
                if one not in known:
                    known.append(one)
    numbers, claims = read_json(results / "numbers.json"), read_json(results / "claims.json")
    return {
        "study": numbers["study"]["name"],
        "machines": machines,
        "versions": versions,
        "weights": weights,
        "raw": raw,
        "estimates": dict(_estimates(numbers["tables"])),
        "claims": {
            claim["id"]: {
                "verdict": claim["verdict"],
                "estimates": [
                    {"of": f"{test['estimand']}, {one['of']}", "outcome": one["outcome"]}
                    | {key: one[key] for key in ("models", "value", "low", "high")}
                    for test in claim["tests"]
                    for one in test["estimates"]
                ],
            }
            for claim in claims
        },
    }


def close(a: float | None, b: float | None) -> bool:
    """Whether two numbers are the same within the tolerance; None is a number that there isn't."""
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _overlap(a: tuple[float | None, ...], b: tuple[float | None, ...]) -> bool:
    (a_low, a_high), (b_low, b_high) = a, b
    if a_low is None or a_high is None or b_low is None or b_high is None:
        return a == b
    return a_low <= b_high and b_low <= a_high


def differences(reference: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Every estimate and verdict that is different, a line each."""
    lines = []
    other = {
        model
        for model in reference["weights"]
        if reference["weights"][model] != found["weights"].get(model)
    }

    def retrained(models: list[str]) -> bool:
        return any(model in other for model in models)

    for name in dict.fromkeys([*reference["estimates"], *found["estimates"]]):
        a, b = reference["estimates"].get(name), found["estimates"].get(name)
        if a is None or b is None:
            lines.append(f"{name}: is in {'the reference' if b is None else 'this run'} alone")
            continue
        wrong = [key for key in a if not close(a[key], b.get(key))]
        ends = ((one["ci_low"], one["ci_high"]) for one in (a, b))
        if wrong and not (retrained(name.split("/")) and _overlap(*ends)):
            key = wrong[0]
            lines.append(f"{name}: {key} is {b.get(key)}, and {a[key]} in the reference")
    for name in dict.fromkeys([*reference["claims"], *found["claims"]]):
        a, b = reference["claims"].get(name), found["claims"].get(name)
        if a is None or b is None or a["verdict"] != b["verdict"]:
            said = [one["verdict"] if one else "not made" for one in (b, a)]
            lines.append(f"claim {name}: {said[0]}, and {said[1]} in the reference")
            continue
        if [one["of"] for one in a["estimates"]] != [one["of"] for one in b["estimates"]]:
            lines.append(f"claim {name}: is of other estimates than in the reference")
            continue
        for x, y in zip(a["estimates"], b["estimates"], strict=True):
            same = all(close(x[key], y[key]) for key in ("value", "low", "high"))
            ends = ((one["low"], one["high"]) for one in (x, y))
            if not same and not (retrained(x["models"]) and _overlap(*ends)):
                lines.append(
                    f"claim {name}, {x['of']}: {y['value']}, and {x['value']} in the reference"
                )
    return lines


def compare(reference: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """How a run compares with the reference.

    Returns
    -------
    `line`, one line; `other_bytes`, the raw outputs that are other files; `differences`, a line
    each.
    """
    names = dict.fromkeys([*reference["raw"], *found["raw"]])
    other = [name for name in names if reference["raw"].get(name) != found["raw"].get(name)]
    wrong = differences(reference, found)
    counts = f"{len(found['estimates'])} estimates and {len(found['claims'])} claims"
    exact = all(reference[key] == found[key] for key in ("raw", "estimates", "claims"))
    if exact:
        line = f"identical bytes: {len(found['raw'])} raw outputs, and with them {counts}"
    elif wrong:
        line = f"DIFFERENT in {len(wrong)} places, the first: {wrong[0]}"
    else:
        line = (
            f"the same within tolerance: {counts}; {len(other)} of {len(names)} raw outputs have "
            "other bytes"
        )
    if not exact and reference["machines"] != found["machines"]:
        here, there = (
            " and ".join(one["processor"] or "an unnamed processor" for one in held["machines"])
            for held in (found, reference)
        )
        line += f" (this is {here}, the reference is of {there}: other last bits are expected)"
    elif not exact and reference["versions"] != found["versions"]:
        line += " (the reference is of other versions of packages)"
    return {"line": line, "other_bytes": other, "differences": wrong}
