"""The manifest of a study, of made-up records: each file, its job, and what that read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stable_regions.audit import manifest
from stable_regions.base.errors import UserError
from stable_regions.base.files import sha256, write_json

RESULTS = Path("results/s")
RAW, TABLE, MODEL = "results/s/raw.bin", "results/s/tables/table.csv", "resources/models/m.bin"
Job = dict[str, Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what three jobs made: a model, its raw output, a table of that."""
    monkeypatch.chdir(tmp_path)
    for path, text in ((MODEL, "weights"), (RAW, "numbers"), (TABLE, "rows")):
        write(path, text)
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def job(rule: str, made: str, *read: str, environment: str = "1") -> Job:
    def files(paths: tuple[str, ...]) -> dict[str, Any]:
        return {"files": [{"path": path, "sha256": sha256(path)} for path in paths]}

    return {
        "rule": rule, "input": files(read), "output": files((made,)),
        "machine": {"processor": "p"}, "versions": {"torch": environment},
    }  # fmt: skip


@pytest.fixture
def records(folder: Path) -> list[Job]:
    return [
        job("tabulate", TABLE, RAW, environment="2"),
        job("measure", RAW, MODEL),
        job("fetch", MODEL),
    ]


def build(records: list[Job]) -> dict[str, Any]:
    return manifest.build(RESULTS, records, [TABLE], {"study": "s"})


def test_each_file_has_its_job_and_each_job_comes_after_those_it_builds_on(
    records: list[Job],
) -> None:
    write("results/s/stray.csv", "of no job")
    for unlisted in (".snakemake/x", "tables/.hidden", "manifest.json"):
        write(f"results/s/{unlisted}", "no result")
    whole = build(records)
    assert [each["rule"] for each in whole["jobs"]] == ["fetch", "measure", "tabulate"]
    assert manifest.whole_jobs(whole) == records[::-1]
    assert len(whole["machines"]) == 1
    assert whole["environments"] == [{"torch": "1"}, {"torch": "2"}]
    assert whole["study"] == "s"
    assert whole["files"] == {
        RAW: {"sha256": sha256(RAW), "bytes": 7, "job": 1},
        "results/s/stray.csv": {"sha256": sha256("results/s/stray.csv"), "bytes": 9, "job": None},
        TABLE: {"sha256": sha256(TABLE), "bytes": 4, "job": 2},
    }
    assert whole["inputs"] == {MODEL: {"sha256": sha256(MODEL), "job": 0}}


def test_what_is_deleted_after_use_is_known_by_what_was_read(records: list[Job]) -> None:
    digest = sha256(MODEL)
    Path(MODEL).unlink()
    assert build(records)["inputs"] == {MODEL: {"sha256": digest, "job": 0}}


def test_of_two_jobs_that_made_a_file_the_one_whose_file_is_there_counts(
    records: list[Job],
) -> None:
    before = job("measure", RAW, MODEL)
    before["output"]["files"][0]["sha256"] = "0" * 64
    before["rule"] = "measured before"
    for some in ([before, *records], [*records, before]):
        rules = [each["rule"] for each in build(some)["jobs"]]
        assert rules == ["fetch", "measure", "tabulate"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: write(TABLE, "other"), f"{TABLE}: does not match what the rule tabulate wrote"),
        (lambda: write(RAW, "other"), f"{RAW}: does not match what the rule measure wrote"),
        (lambda: Path(RAW).unlink(), f"{RAW}: missing: run `snakemake {RAW}`"),
    ],
)
def test_a_file_that_is_not_as_its_job_left_it_is_named(
    records: list[Job], change: Callable[[], object], said: str
) -> None:
    change()
    with pytest.raises(UserError, match=said):
        build(records)


def test_a_file_made_again_since_it_was_read_is_named(records: list[Job]) -> None:
    write(RAW, "numbers anew")
    records.append(job("measure", RAW, MODEL))
    with pytest.raises(
        UserError, match=f"{RAW}: is not the file that {TABLE} was made from.*tabulate"
    ):
        build(records)


def test_a_manifest_is_read_back_or_named(records: list[Job]) -> None:
    with pytest.raises(UserError, match="manifest.json: missing: finish the study first"):
        manifest.read(RESULTS)
    write_json(RESULTS / manifest.NAME, build(records))
    assert manifest.whole_jobs(manifest.read(RESULTS)) == records[::-1]
    write_json(RESULTS / manifest.NAME, {"files": {}})
    with pytest.raises(UserError, match="manifest.json: not a manifest"):
        manifest.read(RESULTS)
