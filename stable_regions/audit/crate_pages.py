"""The crate for a person: what lies in a study's folder, and a page of what made it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from stable_regions.audit.manifest import CODE, CRATE, NAME, PREVIEW

# What the parts of a study's folder are, in the order in which a reader wants them.
PARTS = {
    "paper.pdf": "the paper, with every number read from these results",
    "explorer.html": "a page to explore: paths, planes, series, clusters",
    "claims.json": "each claim with its estimates, intervals, verdict, and the command for it",
    "claims": "single claims that were asked for",
    "figures": "the figures, and as CSV exactly what each draws",
    "tables": "summaries, one row a number",
    "numbers.json": "the numbers that the paper quotes",
    "clustering": "clusters of prompts: labels, condensed trees, persistence",
    "activations": "activations at the last position of each prompt",
    "prompts": "prompts and their pairs",
    NAME: "SHA-256 of every file, and the job that made it: settings, inputs, versions, machine",
    CRATE: "the same as a Provenance Run Crate",
    PREVIEW: "that for a person",
    CODE: "the code of the run, whole: it can be set up and run",
}
RAW = "raw outputs, with what made them in each file's metadata"  # all else
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ max-width: 62rem; margin: 2rem auto; font: 1rem/1.5 system-ui, sans-serif; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 0.1rem 0.8rem 0.1rem 0; text-align: left; vertical-align: top; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
code {{ overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{description}</p>
<p>This folder is a <a href="https://w3id.org/ro/wfrun/provenance/0.5">Provenance Run Crate</a>:
<a href="{crate}">{crate}</a> says all of this to a machine.</p>
{sections}
</body>
</html>
"""


def readme(manifest: Mapping[str, Any]) -> str:
    """What lies in a study's folder, as Markdown."""
    # after `results/<study>/`
    held = {PurePosixPath(path).parts[2] for path in manifest["files"]}
    held |= {NAME, CRATE, PREVIEW, CODE}
    names = [*(name for name in PARTS if name in held), *sorted(held - set(PARTS))]
    lines = [f"| `{name}` | {PARTS.get(name, RAW)} |" for name in names]
    return "\n".join(
        [
            f"# The study {manifest['study']}: {manifest['title']}",
            "",
            "Results of a replication of *Characterizing stable regions in the residual stream of",
            "LLMs* (arXiv:2409.17113).",
            "",
            "| where | what |",
            "|---|---|",
            *lines,
            "",
            f"How to set up the code and to verify all of this is in `{CODE}/README.md`.",
            "",
        ]
    )


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _link(identity: str, name: str) -> str:
    return f'<a href="{escape(quote(identity, safe="/%"))}"><code>{escape(name)}</code></a>'


def _referred(value: Any) -> list[str]:
    """The identities that a property refers to."""
    return [one["@id"] for one in (value if isinstance(value, list) else [value]) if one]


def preview(metadata: Mapping[str, Any]) -> str:
    """A page that shows a crate's metadata; it runs nothing and asks for nothing.

    Parameters
    ----------
    metadata
        As `stable_regions.audit.crate.describe` gives it.
    """
    entities: dict[str, dict[str, Any]] = {one["@id"]: one for one in metadata["@graph"]}
    root, run = entities["./"], entities["#run"]
    workflow = entities[run["instrument"]["@id"]]
    steps = _referred(workflow["step"])
    actions: dict[str, list[dict[str, Any]]] = {step: [] for step in steps}
    for one in entities.values():
        if one["@type"] == "ControlAction":
            actions[one["instrument"]["@id"]].append(entities[one["object"]["@id"]])

    def seconds(action: Mapping[str, Any]) -> float:
        began, ended = (datetime.fromisoformat(action[key]) for key in ("startTime", "endTime"))
        return (ended - began).total_seconds()

    made = [entities[one] for one in _referred(run["result"])]
    tops: dict[str, list[dict[str, Any]]] = {}
    for file in made:
        tops.setdefault(PurePosixPath(file["@id"]).parts[0], []).append(file)
    facts = [
        ("run", f"{escape(run['startTime'])} to {escape(run['endTime'])}"),
        ("licence", _link(root["license"]["@id"], entities[root["license"]["@id"]]["name"])),
        ("code", f"{_link(workflow['@id'], workflow['name'])}, {escape(workflow['version'])}"),
    ]
    results = [
        (
            _link(top if len(some) == 1 and some[0]["@id"] == top else f"{top}/", top),
            escape(PARTS.get(top, RAW)),
            str(len(some)),
            f"{sum(int(one['contentSize']) for one in some) / 1e6:.2f} MB",
        )
        for top, some in sorted(tops.items())
    ]
    ran = [
        (
            escape(entities[step]["name"]),
            ", ".join(_link(one, one) for one in _referred(entities[step]["workExample"])),
            str(len(actions[step])),
            f"{sum(map(seconds, actions[step])):.0f} s",
        )
        for step in steps
    ]
    software = sorted(
        f"{one['name']} {one['softwareVersion']}"
        for one in entities.values()
        if one["@type"] == "SoftwareApplication"
    )
    sections = [
        _table(("", ""), facts),
        "<h2>Results</h2>",
        _table(("where", "what", "files", "size"), results),
        "<h2>Steps, in an order in which they can be run</h2>",
        _table(("step", "script", "jobs", "time in all"), ran),
        "<h2>Software</h2>",
        f"<p>{escape(', '.join(software))}</p>",
    ]
    return PAGE.format(
        title=escape(root["name"]),
        description=escape(root["description"]),
        crate=CRATE,
        sections="\n".join(sections),
    )
