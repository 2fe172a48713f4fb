"""What the study is as a replication, said in the forms that others take."""

import re
from pathlib import Path

import pytest
import yaml

from stable_regions.audit import manifest
from stable_regions.audit.crate import PARTS
from tests.tiny_study import ROOT
from tools import replication


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return replication.documents()


def test_the_documents_say_what_their_source_says(documents: dict[str, str]) -> None:
    written = {name: (ROOT / name).read_text(encoding="utf-8") for name in documents}
    assert written == documents, "run `python tools/replication.py`"
    assert {Path(name).parts[0] for name in documents} <= set(PARTS)  # they are in the crate


def test_codecheck_has_what_version_2_asks_of_an_author(documents: dict[str, str]) -> None:
    text = documents["codecheck.yml"]
    assert text.startswith("%YAML 1.1\n")
    assert "\n---\n" in text
    written = yaml.safe_load(text)
    assert written["version"] == "https://codecheck.org.uk/spec/config/2.0/"
    assert all(set(one) == {"file", "comment"} and one["comment"] for one in written["manifest"])
    assert {"title", "authors", "reference"} <= set(written["paper"])
    for author in written["paper"]["authors"]:
        assert author["name"]
        assert author["ORCID"] is None or re.fullmatch(r"(\d{4}-){3}\d{3}[\dX]", author["ORCID"])
    assert not {"codechecker", "report", "summary", "certificate"} & set(written)  # not an author's


def test_a_finished_study_has_what_codecheck_lists(tiny: Path, documents: dict[str, str]) -> None:
    """All but figures of what the tiny study leaves out."""
    made = manifest.read(tiny / "results" / "tiny")["files"]
    listed = [one["file"] for one in yaml.safe_load(documents["codecheck.yml"])["manifest"]]
    drawn = {path for path in made if re.search(r"/figures/.*\.pdf$", path)}
    tiny_names = {path.replace("results/embedded/", "results/tiny/") for path in listed}
    assert drawn <= tiny_names
    assert {path for path in tiny_names if "/figures/" not in path} <= set(made)


def test_the_title_says_whether_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    report = replication.Report()
    assert report.title().startswith("[Re] ")
    monkeypatch.setattr(report, "verdicts", dict.fromkeys(report.verdicts, "not replicated"))
    assert report.title().startswith("[¬Re] ")


def test_the_summary_has_its_parts_and_every_claim(documents: dict[str, str]) -> None:
    text = documents["docs/replication/summary.md"]
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == [
        "Scope of reproducibility", "Methodology", "Results", "What was easy",
        "What was difficult", "Communication with original authors",
    ]  # fmt: skip
    report = replication.Report()
    for name, claim in report.study.claims.items():
        assert f"| {claim.statement} | {claim.place} | {report.verdicts[name]} | " in text
    assert "None so far" in text


def test_rescience_metadata_has_the_keys_of_its_template(documents: dict[str, str]) -> None:
    written = yaml.safe_load(documents["docs/replication/metadata.yaml"])
    assert list(written) == [
        "title", "authors", "affiliations", "keywords", "code", "data", "replication", "abstract",
        "bibliography", "type", "domain", "language",
    ]  # fmt: skip
    assert written["authors"][0]["affiliations"] == "1,*"
    bibliography = (ROOT / written["bibliography"]).read_text(encoding="utf-8")
    assert {"bib": "janiak2024"} in written["replication"]
    assert "{janiak2024," in bibliography


def test_every_question_of_the_checklist_is_answered(documents: dict[str, str]) -> None:
    rows = [line for line in documents["docs/replication/checklist.md"].splitlines()
            if re.match(r"\| \d+ \|", line)]  # fmt: skip
    assert len(rows) == 16
    assert all(re.search(r"\| (Yes|No|NA) \| \S.+ \|$", row) for row in rows)


def test_what_else_a_claim_holds_on_is_said_of_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = replication.Report()
    claims = {name: dict(written) for name, written in report.reference["claims"].items()}
    claims["regions"]["also"] = {"the King James Bible": "holds"}
    claims["rest"]["also"] = {}
    monkeypatch.setattr(report, "reference", report.reference | {"claims": claims})
    assert "| another text (the King James Bible): holds |" in report.summary()
    assert report.elsewhere("rest") == "–"
