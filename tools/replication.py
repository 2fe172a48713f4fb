"""Write what the study is as a replication, in the forms that others take.

    python tools/replication.py

`codecheck.yml` and `codecheck/` for a CODECHECK; ReScience C's metadata, MLRC's summary and
NeurIPS's checklist in `docs/replication/`. All from `docs/replication/source.yaml`, the ledger of
claims, the plan of the study and its reference. A test fails where a file says something else.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from stable_regions.base.files import read_json  # noqa: E402
from stable_regions.base.yaml_file import read_yaml  # noqa: E402
from stable_regions.study.study import Study  # noqa: E402

CODECHECK = "https://codecheck.org.uk/spec/config/2.0/"
SOURCE = "docs/replication/source.yaml"
MADE = f"Made by `python tools/replication.py` from {SOURCE}: change that, not this."


class Report:
    """The replication as its source, plan and reference have it."""

    def __init__(self) -> None:
        self.source: Mapping[str, Any] = read_yaml(ROOT / SOURCE)
        name = self.source["study"]
        self.study = Study.load(read_yaml(ROOT / "config.yaml") | {"study": name}, ROOT)
        self.reference = read_json(ROOT / "reference" / f"{name}.json")
        known = self.reference["claims"]
        self.verdicts = {  # a claim may be newer than the reference
            claim: known[claim]["verdict"].partition(":")[0] if claim in known else "not run"
            for claim in self.study.claims
        }

    def title(self) -> str:
        """As ReScience C writes it: [Re] if most that was tried of the paper's claims holds."""
        tried = [
            self.verdicts[name]
            for name, claim in self.study.claims.items()
            if claim.whose == "paper" and self.verdicts[name] != "not run"
        ]
        holds = sum(verdict in ("replicated", "partly") for verdict in tried)
        return f"[{'Re' if 2 * holds > len(tried) else '¬Re'}] {self.source['title']}"

    def outputs(self) -> Iterator[tuple[str, str]]:
        """The files that a check must make again, and what each is."""
        results = f"results/{self.study.name}"
        yield f"{results}/paper.pdf", "the paper, with every number read from the results"
        yield f"{results}/tables/claims.csv", "each claim: estimates, intervals, threshold, verdict"
        yield f"{results}/tables/deviations.csv", "what is done otherwise than in the original"
        for name in self.study.figures:
            figure = self.study.figure_modules[name]
            of = "" if figure.original == "none" else f" ({figure.original} of the original)"
            yield f"{results}/figures/{name}.pdf", figure.shows + of

    def codecheck(self) -> str:
        """`codecheck.yml` by version 2.0 of the specification: all that an author can fill."""
        authors = [{"name": one["name"], "ORCID": one["orcid"]} for one in self.source["authors"]]
        held = {
            "version": CODECHECK,
            "manifest": [{"file": path, "comment": what} for path, what in self.outputs()],
            "paper": {
                "title": self.title(),
                "authors": authors,
                "reference": "not published: the first file of the manifest",
                "reference-other": [self.source["landing"]],
            },
            "source": "This repository; the workflow fetches models and texts from PyPI, by hash.",
        }
        head = f"# {MADE}\n# ORCIDs are the authors' to fill; the certificate, its report and the"
        return f"%YAML 1.1\n{head} rest\n# the codechecker's.\n---\n{_dumped(held)}"

    def codecheck_guide(self) -> str:
        """What a check needs and takes."""
        check = self.source["check"]
        cost = self.study.config.selected().cost
        return _document(
            "How to check this",
            f"`{check['command']}` in a fresh clone sets up and runs all that "
            f"[codecheck.yml](../codecheck.yml) lists. {cost}",
            f"It needs {check['needs']}",
            check["same"],
            f"`{check['alone']}` checks a finished run in minutes: every file against its hash, "
            "tables, figures and the paper made again from raw outputs, and a sample of those from "
            "the models.",
            "What a check leaves (notes, logs, the certificate) goes into this folder.",
        )

    def rescience(self) -> str:
        """`metadata.yaml` as ReScience C's template asks for it at submission."""
        source = self.source
        affiliations = list(dict.fromkeys(one["affiliation"] for one in source["authors"]))
        numbers = {name: number for number, name in enumerate(affiliations, 1)}
        held = {
            "title": self.title(),
            "authors": [
                {
                    "name": one["name"], "orcid": one["orcid"], "email": one["email"],
                    "affiliations": f"{numbers[one['affiliation']]}{',*' if not place else ''}",
                }
                for place, one in enumerate(source["authors"])
            ],
            "affiliations": [
                {"code": number, "name": name, "address": None} for name, number in numbers.items()
            ],
            "keywords": ", ".join(source["keywords"]),
            "code": [{"url": source["code_url"]}, {"doi": None}, {"swh": None}],
            "data": [{"url": None}, {"doi": None}],
            "replication": [
                {"cite": source["cite"].strip()}, {"bib": source["bib"]}, {"url": source["url"]},
                {"doi": "10.48550/arXiv.2409.17113"},
            ],
            "abstract": f"{source['scope'].strip()} {source['method'].strip()} {self.result()}",
            "bibliography": "paper/references.bib",
            "type": "Replication",
            "domain": source["domain"],
            "language": source["language"],
        }  # fmt: skip
        return f"# {MADE}\n# What is null is the authors' to fill.\n{_dumped(held)}"

    def result(self) -> str:
        """The verdicts in a sentence."""
        parts = []
        for whose, of in (("paper", "of the paper's"), ("ours", "of our own")):
            names = [name for name, claim in self.study.claims.items() if claim.whose == whose]
            counts = Counter(self.verdicts[name] for name in names)
            said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
            parts.append(f"{of} {len(names)} claims: {said}")
        return f"In the study {self.study.name}, {'; '.join(parts)}."

    def elsewhere(self, name: str) -> str:
        """On what else a claim was tried, as far as the reference knows."""
        known = self.reference["claims"].get(name, {}).get("also", {})
        tried = [
            f"another {one.other} ({one.what}): {known[one.what]}"
            for one in self.study.claims[name].also
            if known.get(one.what, "not run") != "not run"
        ]
        return "; ".join(tried) or "–"

    def summary(self) -> str:
        """The summary of a page that the reproducibility challenge asks for."""
        source = self.source
        rows = [
            f"| {claim.statement} | {claim.place} | {self.verdicts[name]} "
            f"| {self.elsewhere(name)} |"
            for name, claim in self.study.claims.items()
        ]
        table = ["| claim | where | verdict | also tried on |", "|---|---|---|---|", *rows]
        return _document(
            "Reproducibility summary",
            f"*{self.title()}*",
            f"## Scope of reproducibility\n\n{source['scope']}",
            f"## Methodology\n\n{source['method']}",
            f"## Results\n\n{self.result()} The estimates with their intervals, and the rule, are "
            f"in `results/{self.study.name}/tables/claims.csv` and in the paper.",
            "\n".join(table),
            f"## What was easy\n\n{source['easy']}",
            f"## What was difficult\n\n{source['difficult']}",
            f"## Communication with original authors\n\n{source['contact']}",
        )

    def checklist(self) -> str:
        """NeurIPS's paper checklist, answered."""
        rows = [
            f"| {number} | {one['question']} | {one['answer']} | {one['why'].strip()} |"
            for number, one in enumerate(self.source["checklist"], 1)
        ]
        head = "| | question, in short | answer | why, and where to look |\n|---|---|---|---|\n"
        return _document("NeurIPS paper checklist", head + "\n".join(rows))


def _dumped(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _document(title: str, *parts: str) -> str:
    """Markdown of a title and paragraphs."""
    return "\n\n".join([f"<!-- {MADE} -->", f"# {title}", *(part.strip() for part in parts)]) + "\n"


def documents() -> dict[str, str]:
    """Every file by its path, and what it says."""
    report = Report()
    return {
        "codecheck.yml": report.codecheck(),
        "codecheck/README.md": report.codecheck_guide(),
        "docs/replication/metadata.yaml": report.rescience(),
        "docs/replication/summary.md": report.summary(),
        "docs/replication/checklist.md": report.checklist(),
    }


def main() -> None:
    for name, text in documents().items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
