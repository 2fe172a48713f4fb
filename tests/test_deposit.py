"""A finished study can be packed for a repository, and what was packed can be verified."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from stable_regions.audit import crate, deposit, manifest, verify
from tests.tiny_study import ROOT, snakemake

RESULTS = Path("results/tiny")


@pytest.fixture
def inside(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished study itself as the working directory, for reading alone."""
    monkeypatch.chdir(tiny)
    return tiny


def packed(target: Path, *, raw: bool) -> set[str]:
    count = deposit.write_archive(target, RESULTS, manifest.read(RESULTS), raw=raw)
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == count
        return set(archive.namelist())


def test_the_same_files_give_the_same_bytes(inside: Path, tmp_path: Path) -> None:
    """Whenever they were written, and whatever lies beside them."""
    packed(tmp_path / "a.zip", raw=True)
    shutil.copytree("results", tmp_path / "results")
    os.chdir(tmp_path)
    for path in RESULTS.rglob("*"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o700)
    (RESULTS / "workflow" / "scripts" / "__pycache__").mkdir(exist_ok=True)
    (RESULTS / "workflow" / "scripts" / "__pycache__" / "x.pyc").touch()
    (RESULTS / "workflow" / "results").mkdir()
    (RESULTS / "workflow" / ".venv").mkdir()
    (RESULTS / "workflow" / ".venv" / "secret").touch()
    (RESULTS / ".half-written").touch()
    packed(tmp_path / "b.zip", raw=True)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_archive_is_the_crate_and_a_guide(inside: Path, tmp_path: Path) -> None:
    on_disk = {path.as_posix() for path in RESULTS.rglob("*") if path.is_file()}
    assert packed(tmp_path / "whole.zip", raw=True) == {
        name for name in on_disk if "/." not in name and "__pycache__" not in name
    } | {"README.md"}


def test_raw_outputs_can_be_left_out_and_it_says_so(inside: Path, tmp_path: Path) -> None:
    every = packed(tmp_path / "whole.zip", raw=True)
    some = packed(tmp_path / "some.zip", raw=False)
    gone = every - some
    assert "results/tiny/interpolation/sharpness/tiny-llama.parquet" in gone
    assert {"results/tiny/paper.pdf", "results/tiny/tables/claims.csv"} <= some
    assert "results/tiny/prompts/tiny/tiny-llama.prompts.parquet" in some
    with zipfile.ZipFile(tmp_path / "some.zip") as archive:
        archive.extractall(tmp_path / "some")
    os.chdir(tmp_path / "some")
    assert set(json.loads((RESULTS / "left-out.json").read_text())) == gone
    report = verify.Report()
    content = manifest.read(RESULTS)
    verify.check_files(content, RESULTS, [], report)
    verify.check_crate(content, RESULTS, report)
    assert report.different == []
    assert f"{len(gone)} files were left out on purpose" in report.unchecked[0]
    (RESULTS / "paper.pdf").unlink()
    verify.check_files(content, RESULTS, [], report)
    assert report.different == ["results/tiny/paper.pdf: missing"]


@pytest.mark.workflow
def test_what_was_packed_is_verified_in_an_empty_folder(tiny: Path, tmp_path: Path) -> None:
    """By the code that comes with it; raw outputs, left out here, are checked in other tests."""
    made, empty = tmp_path / "made", tmp_path / "empty"
    made.mkdir()
    for name in ("results", "sources", "logs"):
        shutil.copytree(tiny / name, made / name)
    done = snakemake(made, "deposit", "--config", "raw=False")
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(made / "deposit" / "tiny.zip") as archive:
        archive.extractall(empty)
    os.symlink(tiny / "sources", empty / "sources")  # the configuration names models of the tests
    code = empty / "results/tiny/workflow"
    for added in (code / ".venv/lib/x.py", code / "scripts/__pycache__/x.pyc"):  # set up and run
        added.parent.mkdir(parents=True)
        added.touch()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", code / "Snakefile", "--directory", empty,
         "--configfile", code / "tests/tiny/config.yaml", "--cores", "2", "verify"],
        cwd=empty, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "results/tiny matches its manifest" in done.stderr
    assert "files were left out on purpose" in done.stderr
    assert " 0 files rebuilt" not in done.stderr


@pytest.mark.workflow
def test_a_changed_study_is_not_packed(tiny: Path, tmp_path: Path) -> None:
    for name in ("results", "sources"):
        shutil.copytree(tiny / name, tmp_path / name)
    table = tmp_path / RESULTS / "tables/claims.csv"
    table.write_text(table.read_text() + "x\n")
    done = snakemake(tmp_path, "deposit")
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if "[deposit] error: " in line]
    assert "tables/claims.csv: changed" in line
    assert not (tmp_path / "deposit").exists()


def test_repositories_are_told_what_they_ask(inside: Path) -> None:
    facts = deposit.describe(RESULTS, manifest.read(RESULTS))
    zenodo = deposit.zenodo(facts)["metadata"]
    assert zenodo["upload_type"] == "dataset"
    assert zenodo["creators"] == [{"name": crate.AUTHORS}]
    assert zenodo["license"] == "MIT"
    assert all(zenodo[key] for key in ("title", "description", "keywords", "version"))
    [related] = zenodo["related_identifiers"]
    assert related["identifier"] == "arXiv:2409.17113"
    record = deposit.inveniordm(facts)
    assert record["metadata"]["resource_type"] == {"id": "dataset"}
    assert record["metadata"]["creators"][0]["person_or_org"]["name"] == crate.AUTHORS
    assert record["metadata"]["rights"] == [{"id": "mit"}]
    assert record["metadata"]["publication_date"] == manifest.read(RESULTS)["made"][:10]


def test_the_citation_is_complete_and_agrees_with_the_rest() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    asked = {"message", "title", "type", "abstract", "keywords", "license", "version", "authors"}
    assert asked <= set(cited)
    assert [one["name"] for one in cited["authors"]] == [crate.AUTHORS]
    assert f'version = "{cited["version"]}"' in (ROOT / "pyproject.toml").read_text()
    source = yaml.safe_load((ROOT / "docs/replication/source.yaml").read_text(encoding="utf-8"))
    assert cited["keywords"] == source["keywords"]
    assert source["authors"][0]["name"] == crate.AUTHORS
    [paper] = cited["references"]
    assert paper["url"] == source["landing"]
    assert paper["title"] == source["title"]
