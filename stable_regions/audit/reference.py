"""A digest of a study's results to compare later runs with: numbers, claims and hashes.

Three answers are possible. *Identical bytes*: the raw outputs are the same files. *The same within
tolerance*: each claim has the same verdict, and each estimate differs by no more than it may.
Otherwise *different*.

What an estimate may differ by follows from what it is. Another processor adds in another order,
which moves the last bits of what a model computes.

- A *real* number moves along: by `TOLERANCE` at most. A share of a thousand pairs does too, when
  a pair changes sides.
- A *count* cannot move a little. A gate that is all but closed at a point of the grid opens there,
  and the count of its path is another by one; so a median of counts, or a difference of medians, is
  another by half or by one, however many pairs it is of. Further it cannot go unless about half of
  all paths change by more than one.
- A *quotient* by what is small moves further, by ten times as much at most. A slope is relative to
  the distance of its ends' outputs, and where pairs were chosen for being near, the same rounding
  is a larger part of that. In a ratio of counts one gate more is one of those below.
- The *clustering* of prompts is a threshold on a tree: where two branches are all but equally long,
  the last bits decide which are joined, and with it the labels of all prompts below. A score is
  then another by more than any rounding, but no more surprising than other prompts would make it:
  the intervals must overlap.
- A model that was *trained* elsewhere has other weights, since every update builds on the rounding
  of the last one: it is another draw, and the intervals must overlap.

On one make of processor, with one set of versions, counts and clusterings have no such excuse.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stable_regions.audit.records import facts_of
from stable_regions.base.errors import UserError
from stable_regions.base.files import atomic, read_json, sha256
from stable_regions.experiments.kinds import KINDS
from stable_regions.experiments.settings import Nature

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


def _estimate_name(test: Mapping[str, Any], one: Mapping[str, Any]) -> str:
    return f"{test['estimand']}, {one['of']}"


def _words(test: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    """What names an estimate of a test: its table, the keys of its row, its column."""
    rows = [each for each in (test.get("where") or {}).values() if not isinstance(each, list)]
    # which of several it is of stands in `of`
    words = (test.get("table", ""), *rows, *one["of"].split(", "), test.get("value"))
    return [str(word) for word in words]


def _natures(claim: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Nature]:
    """What those of a claim's estimates are that are no real numbers."""
    natures = {
        _estimate_name(test, one): nature(_words(test, one), kinds)
        for test in claim["tests"]
        for one in test["estimates"]
    }
    return {name: what for name, what in natures.items() if what != "real"}


def digest(results: Path) -> dict[str, Any]:
    """The digest of a finished study.

    Returns
    -------
    `study`; `kinds`, of each experiment; `machines` and `versions` that the raw outputs are of;
    `weights`, the hashes of each model's; `data`, the hash of each raw output and table;
    `estimates` by `<table>/<keys>`: value, low and high end of the interval, with six digits;
    `claims`: verdict, models, estimates, what those are that are no real numbers (`natures`),
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
    kinds = {name: entry["kind"] for name, entry in numbers["experiments"].items()}
    return {
        "study": numbers["study"]["name"],
        "kinds": kinds,
        "machines": machines,
        "versions": versions,
        "weights": weights,
        "data": data,
        "estimates": dict(_estimates(numbers["tables"])),
        "claims": {
            claim["id"]: {
                "verdict": claim["verdict"],
                "models": claim["models"],
                "natures": _natures(claim, kinds),
                "also": {one["what"]: one["outcome"] for one in claim["also"]},
                "estimates": {
                    _estimate_name(test, one): _rounded(one["value"], one["low"], one["high"])
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


def slug(machines: list[Any]) -> str:
    """The processors of a digest as part of a file's name."""
    names = "-".join(dict.fromkeys(one["processor"] or "unnamed" for one in machines))
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", names.lower())).strip("-")


def place_of(path: Path, content: Mapping[str, Any]) -> Path:
    """Where to keep a digest: in place of one of the same processors, or beside those of others.

    Parameters
    ----------
    path
        The file of the first reference of the study.
    """
    if not path.exists() or read_json(path)["machines"] == content["machines"]:
        return path
    return path.with_suffix(f".{slug(content['machines'])}.json")


def nearest(references: list[dict[str, Any]], current: Mapping[str, Any]) -> dict[str, Any]:
    """The reference of the same processors as a run, or else the first."""
    alike = [one for one in references if one["machines"] == current["machines"]]
    return (alike or references)[0]


def nature(words: Sequence[str], kinds: Mapping[str, str]) -> Nature:
    """What an estimate is, by its table and the keys of its row."""
    table, *keys = words
    experiment, _, what = table.partition("_")
    kind = KINDS.get(kinds.get(experiment, ""))
    return kind.nature([what, *keys]) if kind else "real"


def _nature_in(
    natures: Mapping[str, Nature | Literal["trained"]], name: str
) -> Nature | Literal["trained"]:
    return natures.get(name, "real")


def _within(
    a: Interval, b: Interval, relative: float = TOLERANCE, absolute: float = TOLERANCE
) -> bool:
    return all(
        math.isclose(x, y, rel_tol=relative, abs_tol=absolute) for x, y in zip(a, b, strict=True)
    )


def _same(a: Interval, b: Interval, what: Nature | Literal["trained"]) -> bool:
    """Whether two estimates are the same as far as can be asked of what they are."""
    overlap = a[1] <= b[2] and b[1] <= a[2]
    return (
        _within(a, b)
        or (what == "count" and _within(a, b, absolute=1.0))
        or (what == "quotient" and _within(a, b, 10 * TOLERANCE, 10 * TOLERANCE))
        or (what in ("clustering", "trained") and overlap)
    )


@dataclass
class Comparison:
    """What two digests differ in, a line each.

    Attributes
    ----------
    verdicts, estimates
        What is different.
    moved
        What is no real number and moved by no more than another processor can move it.
    """

    verdicts: list[str] = field(default_factory=list)
    estimates: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


def differences(reference: Mapping[str, Any], current: Mapping[str, Any]) -> Comparison:
    """Every estimate and verdict that is different."""
    other = {
        model
        for model, files in reference["weights"].items()
        if current["weights"].get(model) != files
    }
    elsewhere = any(reference[key] != current[key] for key in ("machines", "versions"))
    result = Comparison()

    def compare_all(
        old: Mapping[str, Interval],
        new: Mapping[str, Interval],
        what: Callable[[str], Nature | Literal["trained"]],
        prefix: str = "",
    ) -> None:
        for name in dict.fromkeys([*old, *new]):
            if name not in new or name not in old:
                where = "this run" if name in new else "the reference"
                result.estimates.append(f"{prefix}{name}: is in {where} alone")
                continue
            (a, a_low, a_high), (b, b_low, b_high) = old[name], new[name]
            line = (
                f"{prefix}{name}: {b:g} [{b_low:g}, {b_high:g}], "
                f"and {a:g} [{a_low:g}, {a_high:g}] in the reference"
            )
            if not _same(old[name], new[name], what(name)):
                result.estimates.append(line)
            elif what(name) not in ("real", "trained") and not _within(old[name], new[name]):
                result.moved.append(line)

    def of_table(name: str) -> Nature | Literal["trained"]:
        if not other.isdisjoint(name.split("/")):
            return "trained"
        return nature(name.split("/"), current["kinds"]) if elsewhere else "real"

    compare_all(reference["estimates"], current["estimates"], of_table)
    for name in dict.fromkeys([*reference["claims"], *current["claims"]]):
        a, b = reference["claims"].get(name), current["claims"].get(name)
        if a is None or b is None or a["verdict"] != b["verdict"]:
            verdicts = [one["verdict"] if one else "not made" for one in (b, a)]
            result.verdicts.append(
                f"claim {name}: {verdicts[0]}, and {verdicts[1]} in the reference"
            )
        else:
            trained = not other.isdisjoint(a["models"])
            natures = {} if not elsewhere else b.get("natures", {})
            of_claim: dict[str, Any] = (
                dict.fromkeys(b["estimates"], "trained") if trained else natures
            )
            compare_all(
                a["estimates"],
                b["estimates"],
                partial(_nature_in, of_claim),
                f"claim {name}, ",
            )
    return result


def compare(reference: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a run with the reference.

    Returns
    -------
    `line`, one line; `other_bytes`, the raw outputs and tables that are other files;
    `differences` and `moved`, a line each: see `Comparison`.
    """
    names = dict.fromkeys([*reference["data"], *current["data"]])
    other = [name for name in names if reference["data"].get(name) != current["data"].get(name)]
    found = differences(reference, current)
    estimates, claims = len(current["estimates"]), len(current["claims"])
    counts = f"{estimates} estimates and {claims} claims"
    if found.verdicts:
        line = f"DIFFERENT in {len(found.verdicts)} of {claims} verdicts: {found.verdicts[0]}"
    elif found.estimates:
        line = (
            f"the same verdicts on all {claims} claims; {len(found.estimates)} of the estimates "
            f"differ by more than expected, the first: {found.estimates[0]}"
        )
    elif not other:
        line = f"identical bytes: {len(names)} raw outputs and tables, and with them {counts}"
    else:
        line = (
            f"the same within tolerance: {counts}; {len(other)} of {len(names)} raw outputs and "
            "tables have other bytes"
        )
    if found.moved:
        line += (
            f"; of counts, quotients and scores of clusters {len(found.moved)} moved as rounding "
            f"can move them, such as {found.moved[0]}"
        )
    if other and reference["machines"] != current["machines"]:
        here, there = (
            " and ".join(one["processor"] or "an unnamed processor" for one in digest["machines"])
            for digest in (current, reference)
        )
        line += f" (this is {here}, the reference is of {there}: other last bits are expected)"
    elif other and reference["versions"] != current["versions"]:
        line += " (the reference is of other versions of packages)"
    wrong = found.verdicts + found.estimates
    return {"line": line, "other_bytes": other, "differences": wrong, "moved": found.moved}
