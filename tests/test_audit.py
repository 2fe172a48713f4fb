"""A finished study can be checked: its manifest, the way back, and whatever is forged."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import rocrate
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.utils.http import HttpRequester

from stable_regions.audit import crate, crate_pages, records, reference, replay, trace, verify
from stable_regions.audit import manifest as manifests
from stable_regions.audit import sample as sampling
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_json, read_parquet, sha256, write_parquet
from stable_regions.experiments.kinds import KINDS
from stable_regions.models.load import load_model
from tests.tiny_study import ROOT, environments, snakemake

RESULTS = Path("results/tiny")
TABLE = "results/tiny/tables/sharpness.csv"
RAW = "results/tiny/interpolation/sharpness/tiny-llama.parquet"


def copied(tiny: Path, folder: Path) -> None:
    """Copy the finished tiny study to a folder, to be spoiled; models and texts are shared."""
    for name in ("results", "logs"):
        shutil.copytree(tiny / name, folder / name)
    for name in ("resources", "sources"):
        os.symlink(tiny / name, folder / name)


@pytest.fixture
def study(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished study, as the working directory."""
    copied(tiny, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inside(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished study itself as the working directory, for reading alone."""
    monkeypatch.chdir(tiny)
    return tiny


def checked() -> list[str]:
    """What the checks of files find different."""
    report = verify.Report()
    recorded = manifests.read(RESULTS)
    verify.check_files(recorded, RESULTS, records.load_records(Path("logs")), report)
    verify.check_crate(recorded, RESULTS, report)
    verify.check_chain(recorded, report)
    verify.check_inputs(recorded, report)
    return report.different


def flip(path: Path, place: int | None = None) -> None:
    """Change one byte of a file, in the middle if no place is given."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(content)


# Records and the manifest


def test_the_manifest_holds_every_file_and_the_job_behind_it(inside: Path) -> None:
    recorded = manifests.read(RESULTS)
    on_disk = {
        path.as_posix()
        for path in RESULTS.rglob("*")
        if path.is_file() and path.relative_to(RESULTS).parts[0] not in
        ("workflow", "manifest.json", "README.md", "ro-crate-metadata.json",
         "ro-crate-preview.html")
    }  # fmt: skip
    assert set(recorded["files"]) == on_disk
    assert len(on_disk) > 100
    for path, entry in recorded["files"].items():
        assert entry["sha256"] == sha256(path)
        assert entry["bytes"] == Path(path).stat().st_size
        job = recorded["jobs"][entry["job"]]
        assert path in [file["path"] for file in job["output"]["files"]]
    rules = {job["rule"] for job in recorded["jobs"]}
    assert {"model", "corpus", "train", "figure", "claims", "paper"} <= rules
    weights = recorded["inputs"]["resources/models/tiny-random"]["source"]["files"]
    assert weights["model.safetensors"] == sha256("resources/models/tiny-random/model.safetensors")


def test_records_say_what_a_job_did(inside: Path) -> None:
    wildcards = {"study": "tiny", "prompts": "tiny", "job": "tiny-gpt2"}
    [record] = [r for r in records.load_records(Path("logs")) if r["wildcards"] == wildcards]
    assert record["rule"] == "cache_activations"
    assert record["script"] == "scripts/cache_activations.py"
    assert record["threads"] == 1
    assert record["params"]["refs"] == ["tiny-gpt2"]
    assert record["versions"]["torch"].startswith("2.13")
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["started"] < record["ended"]
    given = {file["path"]: file["sha256"] for file in record["input"]["files"]}
    prompts = "results/tiny/prompts/tiny/tiny-gpt2.prompts.parquet"
    assert given[prompts] == sha256(prompts)


def test_times_and_machines_are_in_no_other_result(inside: Path) -> None:
    recorded = manifests.read(RESULTS)
    day = recorded["made"][:10].encode()
    dated = [path for path in recorded["files"] if day in Path(path).read_bytes()]
    assert not dated


def test_a_manifest_is_not_made_of_a_changed_file(study: Path) -> None:
    facts = {"study": "tiny"}
    every = records.load_records(Path("logs"))
    last = ["results/tiny/paper.pdf"]
    assert manifests.build(RESULTS, every, last, facts)["files"]
    flip(Path(TABLE))
    with pytest.raises(UserError, match=r"tables/sharpness\.csv: does not match "):
        manifests.build(RESULTS, every, last, facts)
    Path(TABLE).unlink()
    with pytest.raises(UserError, match=r"tables/sharpness\.csv: missing"):
        manifests.build(RESULTS, every, last, facts)


def test_a_lost_record_is_told_and_not_made_up(study: Path) -> None:
    every = [r for r in records.load_records(Path("logs")) if r["rule"] != "interpolation_tables"]
    recorded = manifests.build(RESULTS, every, ["results/tiny/paper.pdf"], {"study": "tiny"})
    assert recorded["files"][TABLE]["job"] is None
    assert recorded["files"][TABLE]["sha256"] == sha256(TABLE)


# Verifying


def test_an_untouched_study_has_no_differences(inside: Path) -> None:
    assert checked() == []


def test_one_byte_of_any_result_is_found(study: Path) -> None:
    files = [path for path in manifests.result_files(RESULTS) if Path(path).stat().st_size]
    for path in files:
        flip(Path(path))
    named = {line.partition(": ")[0] for line in checked()}
    assert set(files) <= named


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ro-crate-metadata.json",
        "ro-crate-preview.html",
        "workflow/Snakefile",
        "workflow/stable_regions/models/sweep.py",
    ],
)
def test_one_byte_of_what_describes_the_results_is_found(study: Path, name: str) -> None:
    flip(RESULTS / name)
    assert any(line.startswith(f"{RESULTS / name}: ") for line in checked())


def test_one_digit_of_the_manifest_is_found(study: Path) -> None:
    path = RESULTS / "manifest.json"
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 2', 1))
    assert any(line.startswith(f"{path}: ") for line in checked())


def test_a_deleted_file_is_found(study: Path) -> None:
    Path(RAW).unlink()
    assert any(line.startswith(f"{RAW}: ") for line in checked())


def test_two_swapped_files_are_found(study: Path) -> None:
    a, b = RESULTS / "figures/fig2.png", RESULTS / "figures/fig4.png"
    a.rename("x")
    b.rename(a)
    Path("x").rename(b)
    result = checked()
    for one, other in ((a, b), (b, a)):
        assert any(line.startswith(f"{one}: ") and line.endswith(f" {other}") for line in result)


def test_a_foreign_file_is_found_and_a_later_claim_is_not_foreign(study: Path) -> None:
    foreign = RESULTS / "tables" / "mine.csv"
    foreign.write_text("a\n1\n")
    assert [line for line in checked() if "mine.csv" in line]
    foreign.unlink()
    done = snakemake(study, "results/tiny/claims/emerge.json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert checked() == []


def test_changed_weights_are_found(study: Path) -> None:
    os.unlink("resources")
    shutil.copytree(Path(os.readlink("sources")).parent / "resources", "resources", symlinks=True)
    flip(Path("resources/models/tiny-random/model.safetensors"))
    assert any("tiny-random/model.safetensors: " in line for line in checked())


def forged(path: str) -> dict[str, Any]:
    """The manifest with the hash of a changed file wherever the old one stood."""
    recorded = manifests.read(RESULTS)
    old, new = recorded["files"][path]["sha256"], sha256(path)
    return json.loads(json.dumps(recorded).replace(old, new))


def made_again(recorded: dict[str, Any], path: str, scratch: Path) -> list[str]:
    """What is different when the job behind one file is run again."""
    report = verify.Report()
    alone = recorded | {"jobs": [recorded["jobs"][recorded["files"][path]["job"]]]}
    verify.check_summaries(alone, RESULTS, scratch, 1, report)
    assert report.checked
    assert not report.unchecked
    return report.different


@pytest.mark.parametrize(
    "path",
    [
        TABLE,
        "results/tiny/figures/fig2.csv",
        "results/tiny/figures/fig2.pdf",
        "results/tiny/claims.json",
        "results/tiny/paper.pdf",
        "results/tiny/clustering/clusters.labels.parquet",
        "results/tiny/tables/clusters_scores.csv",
    ],
)
def test_summaries_come_out_of_the_raw_outputs_again(
    inside: Path, tmp_path: Path, path: str
) -> None:
    assert made_again(manifests.read(RESULTS), path, tmp_path) == []


def test_a_forged_table_is_found_though_all_hashes_fit(study: Path, tmp_path: Path) -> None:
    table = pd.read_csv(TABLE)
    table.loc[0, "median"] *= 1.001  # type: ignore[assignment]
    table.to_csv(TABLE, index=False)
    recorded = forged(TABLE)
    report = verify.Report()
    verify.check_files(recorded, RESULTS, [], report)
    verify.check_chain(recorded, report)
    assert not report.different
    [line] = made_again(recorded, TABLE, tmp_path / "scratch")
    assert line.startswith(f"{TABLE}: ")
    assert "row 1, median" in line


def test_a_manifest_of_countless_missing_files_is_some_lines(tmp_path: Path) -> None:
    entry = {"sha256": "0" * 64, "bytes": 1, "job": None}
    files = {f"{tmp_path}/{number}.csv": entry for number in range(100_000)}
    report = verify.Report()
    verify.check_files({"files": files}, tmp_path, [], report)
    *named, rest = report.different
    assert named == [f"{tmp_path}/{number}.csv: missing" for number in range(verify.NAMED)]
    assert rest.startswith(f"{100_000 - verify.NAMED} more files: missing: ")
    assert max(map(len, report.unchecked)) < 1000


def test_a_job_of_countless_files_is_checked_in_one_pass() -> None:
    files = [{"path": f"{number}.csv", "sha256": "0" * 64} for number in range(20_000)]
    job = {"input": {"files": files}, "output": {"files": files}}
    entries = {file["path"]: {"sha256": "0" * 64, "job": 0} for file in files}
    began = time.process_time()
    report = verify.Report()
    verify.check_chain({"files": entries, "inputs": {}, "jobs": [job]}, report)
    assert time.process_time() - began < 3
    assert not report.different
    assert report.checked == ["1 jobs: each of their 20000 inputs matches the job that made it"]


def test_a_job_that_cannot_be_run_again_is_one_line(inside: Path, tmp_path: Path) -> None:
    recorded = manifests.read(RESULTS)
    job = recorded["jobs"][recorded["files"]["results/tiny/tables/claims.csv"]["job"]]
    job["params"]["costs"] = {}
    lines = made_again(recorded, "results/tiny/tables/claims.csv", tmp_path)
    names = ["results/tiny/claims.json", "results/tiny/tables/claims.csv"]
    assert [line.partition(": ")[0] for line in lines] == names
    assert all("KeyError" in line and "\n" not in line for line in lines)


def test_what_other_code_made_is_not_made_again(inside: Path, tmp_path: Path) -> None:
    recorded = manifests.read(RESULTS)
    other = {"code": "0" * 16, "module": "stable_regions.figures.fig3"}
    for path, param in ((TABLE, "code"), ("results/tiny/figures/fig2.csv", "module")):
        job = recorded["jobs"][recorded["files"][path]["job"]]
        assert records.same_code(job)
        job["params"][param] = other[param]
        report = verify.Report()
        verify.check_summaries(recorded | {"jobs": [job]}, RESULTS, tmp_path, 1, report)
        assert report.checked[0].startswith("0 files ")
        assert report.unchecked[0].startswith("1 jobs ")
        assert path in report.unchecked[0]


def test_no_script_but_the_checkouts_own_is_run(inside: Path, tmp_path: Path) -> None:
    recorded = manifests.read(RESULTS)
    job = recorded["jobs"][recorded["files"][TABLE]["job"]]
    assert job in verify.summaries(recorded, RESULTS)
    for script in ("/tmp/evil.py", "scripts/../../evil.py", "tests/test_audit.py"):
        assert not verify.summaries(recorded | {"jobs": [job | {"script": script}]}, RESULTS)
    outside = {"path": "results/tiny/../../x.csv", "sha256": ""}
    away = job | {"output": {"files": [outside], "names": {}}}
    assert not verify.summaries(recorded | {"jobs": [away]}, RESULTS)


@pytest.fixture
def llama(inside: Path) -> Any:
    return load_model(Path("resources/models/tiny-llama"), dtype="float32", device="cpu", threads=1)


def raw_files() -> Iterator[Path]:
    recorded = verify.raw_of_models(manifests.read(RESULTS), RESULTS)
    yield from recorded["tiny-llama"]


def prompts_of(path: Path) -> pd.DataFrame:
    facts = records.facts_of(path)
    name = facts["experiment"]["prompts"] if "experiment" in facts else path.parent.name
    return read_parquet(RESULTS / "prompts" / name / "tiny-llama.prompts.parquet")[0]


def test_every_kind_of_raw_output_comes_out_of_the_model_again(llama: Any) -> None:
    kinds = set()
    for path in raw_files():
        kinds.add(records.facts_of(path).get("experiment", {}).get("kind"))
        result = sampling.sample(llama, path, prompts_of(path), seed=0, pairs=20)
        assert result
        assert max(one.worst for one in result) < 1, path
        assert sum(one.values for one in result) > 20
    assert kinds == {None, *KINDS}


def test_a_forged_raw_output_is_found(llama: Any, tmp_path: Path) -> None:
    table, facts = read_parquet(RAW)
    table["distance_post_norm"] = [row * np.float32(1.001) for row in table["distance_post_norm"]]
    path = tmp_path / "raw.parquet"
    write_parquet(path, table, facts)
    result = sampling.sample(llama, path, prompts_of(Path(RAW)), seed=0, pairs=20)
    assert {one.quantity for one in result if one.worst > 1} == {"distance_post_norm"}


def test_the_sample_follows_the_seed(llama: Any, tmp_path: Path) -> None:
    """Each row is off by an amount of its own, so that the largest tells which were drawn."""
    table, facts = read_parquet(RAW)
    table["distance_post_norm"] = [
        row * np.float32(1 + n / 100) for n, row in enumerate(table["distance_post_norm"])
    ]
    path = tmp_path / "raw.parquet"
    write_parquet(path, table, facts)
    prompts = prompts_of(Path(RAW))
    one, again, *others = (
        sampling.sample(llama, path, prompts, seed=seed, pairs=5) for seed in (0, 0, *range(1, 9))
    )
    assert one == again
    assert any(other != one for other in others)  # two seeds may draw the same largest


def test_the_command_verifies(again: Path, verified: str) -> None:
    """In the environment that it names, where the study was run by conda."""
    message = verified
    assert "different: " not in message
    for part in ("files of results/few against manifest.json", "rebuilt from raw outputs",
                 "recomputed through them"):  # fmt: skip
        assert any("checked: " in line and part in line for line in message.splitlines()), part
    assert "load checks and tables that need a model" in message
    if shutil.which("conda"):
        assert set(environments(again, message)) == {sha256(ROOT / "envs" / "audit.yaml")}


# Tracing


def traced(name: str) -> tuple[trace.Target, dict[str, Any], str]:
    target = trace.resolve(name, RESULTS)
    steps = trace.trace(target, manifests.whole_jobs(manifests.read(RESULTS)))
    return target, steps, "\n".join(trace.lines(target, steps))


def test_a_figure_leads_back_to_prompts_and_weights(inside: Path) -> None:
    _, steps, text = traced("results/tiny/figures/fig2.pdf")
    for path in (
        "results/tiny/tables/examples_paths.csv",
        "results/tiny/interpolation/examples/tiny-llama.parquet",
        "results/tiny/activations/examples/tiny-llama.safetensors",
        "results/tiny/prompts/examples/tiny-llama.prompts.parquet",
        "resources/models/tiny-llama",
        "sources/tiny-llama/model.safetensors",
    ):
        assert steps[path]["sha256"]
        assert path in text
    assert sha256("resources/models/tiny-llama/model.safetensors") in text
    assert "' She opened the dusty book and a cloud of mist' | " in text
    job = steps["results/tiny/figures/fig2.pdf"]["job"]
    assert (job["rule"], job["script"]) == ("figure", "scripts/draw_figure.py")
    assert job["code_is_this_checkout"]
    raw = steps["results/tiny/interpolation/examples/tiny-llama.parquet"]["job"]
    assert raw["params"]["entry"]["steps"] == 8
    assert raw["threads"] == 1
    assert raw["versions"]["torch"]
    assert (
        raw["machine"]["processor"]
        == read_json("results/tiny/manifest.json")["machines"][0]["processor"]
    )
    assert raw["seeds"] == []


def test_a_line_leads_to_its_own_rows(inside: Path) -> None:
    table = pd.read_csv("results/tiny/tables/sharpness_pairs.csv", dtype={"pair": str})
    [number] = table.index[
        (table["model"] == "tiny-gpt2") & (table["pair"] == "7") & (table["layer"] == 1)
    ]
    _, steps, text = traced(f"results/tiny/tables/sharpness_pairs.csv:{number + 2}")
    rows = steps["results/tiny/interpolation/sharpness/tiny-gpt2.parquet"]["rows"]
    prompts, _ = read_parquet("results/tiny/prompts/tiny/tiny-gpt2.prompts.parquet")
    assert rows["count"] == 1
    [row] = rows["first"]
    assert row["prompt_b"] == {"number": 8, "text": prompts["text"][8]}
    assert repr(prompts["text"][7]) in text
    assert not any("tiny-llama" in path for path in steps)


def test_a_number_leads_to_its_line(inside: Path) -> None:
    name = "tables.sharpness.tiny-llama.1.pre_norm.median"
    target, steps, text = traced(name)
    table = pd.read_csv(TABLE)
    [row] = target.rows
    assert (row["model"], row["layer"], row["read_site"]) == ("tiny-llama", 1, "pre_norm")
    assert target.paths == [TABLE]
    number = table.index[(table["median"] == row["median"])][0] + 2
    assert f"line {number} of {TABLE}" in text
    assert steps["results/tiny/interpolation/sharpness/tiny-llama.parquet"]["rows"]["count"] == 24
    printed = f"{row['median']:.9f}"
    assert trace.resolve(printed, RESULTS).paths == [TABLE]
    per_cent = trace.resolve(f"{100 * row['median']:.7f}", RESULTS)
    assert per_cent.rows == target.rows


def test_a_number_that_several_places_print_leads_to_all_of_them(inside: Path) -> None:
    claim = next(c for c in read_json(RESULTS / "claims.json") if c["id"] == "regions")
    one = claim["tests"][0]["estimates"][0]  # in the claims, and in the table it was read from
    target, _, text = traced(f"{one['value']:.9f}")
    assert {TABLE, "results/tiny/tables/claims.csv"} <= set(target.paths)
    assert f"of {TABLE}: " in text


def test_a_claim_leads_to_its_estimates(inside: Path) -> None:
    claim = next(c for c in read_json(RESULTS / "claims.json") if c["id"] == "regions")
    target, steps, text = traced("regions")
    assert claim["verdict"] in text
    assert claim["statement"] in text
    assert TABLE in target.paths
    assert any("interpolation/sharpness" in path for path in steps)
    json.dumps(trace.as_json(target, steps), default=str)


def test_a_changed_file_on_the_way_is_told(study: Path) -> None:
    flip(Path(TABLE))
    _, steps, _ = traced("results/tiny/figures/fig2.pdf")
    assert not any("CHANGED" in step["state"] for step in steps.values())
    _, steps, text = traced(TABLE)
    assert steps[TABLE]["state"].startswith("CHANGED")
    assert "CHANGED" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("results/tiny/figures/fig99.pdf", "fig99.pdf"),
        ("tables.sharpness.nothing", "tables.sharpness there are tiny-gpt2"),
        (f"{TABLE}:999", "lines 2 to"),
        ("results/tiny/paper.pdf:3", "CSV"),
        ("123456.789", "123456.789: matches 0"),
        ("1", "by name"),
    ],
)
def test_what_cannot_be_traced_is_one_line(inside: Path, name: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        trace.resolve(name, RESULTS)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_prints_a_tree_and_keeps_the_json(study: Path) -> None:
    done = snakemake(study, "trace", "--config", "target=results/tiny/figures/fig2.csv")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "└─ " in done.stdout
    recorded = read_json("logs/tiny/trace.json")
    assert recorded["steps"]["results/tiny/figures/fig2.csv"]["job"]["rule"] == "figure"
    done = snakemake(study, "trace")
    assert done.returncode != 0
    assert "--config target=" in done.stderr


# Replaying


def test_named_parts_are_as_a_script_expects_them() -> None:
    given = replay.NamedItems(["a", "b", "c"], {"first": [0, None], "rest": [1, 3]})
    assert (given[0], given.first, list(given.rest)) == ("a", "a", ["b", "c"])  # type: ignore[attr-defined]
    assert (given["first"], list(given[1:])) == ("a", ["b", "c"])
    assert (given.get("first"), given.get("others", [])) == ("a", [])
    assert dict(replay.NamedItems.of({"x": 1, "y": [2]}).items()) == {"x": 1, "y": [2]}


def test_numbers_are_compared_and_not_their_spelling(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.csv" for name in "abc")
    a.write_text("model,median\nx,1.0\ny,\n")
    b.write_text("model,median\nx,1.0000000001\ny,\n")
    c.write_text("model,median\nx,1.0001\ny,\n")
    assert verify.difference(a, b) is None
    assert verify.difference(a, c) == "row 1, median: 1.0 and 1.0001"
    assert verify.difference(a, tmp_path / "c.csv") is not None


# The reference


def test_a_run_is_identical_to_itself(inside: Path) -> None:
    kept = reference.digest(RESULTS)
    assert kept["study"] == "tiny"
    assert "sharpness/tiny-llama/0/post_norm" in kept["estimates"]
    assert kept["data"]["interpolation/sharpness/tiny-llama.parquet"] == sha256(RAW)
    result = reference.compare(kept, reference.digest(RESULTS))
    assert result["line"].startswith("identical bytes: ")
    assert result["differences"] == []


def changed(kept: dict[str, Any], factor: float, **other: Any) -> dict[str, Any]:
    """A digest with another hash, and one median moved."""
    recorded = json.loads(json.dumps(kept)) | other
    recorded["data"]["interpolation/sharpness/tiny-llama.parquet"] = "0" * 64
    recorded["estimates"]["sharpness/tiny-llama/0/post_norm"][0] *= factor
    return recorded


def test_other_last_bits_and_other_numbers_are_told_apart(inside: Path) -> None:
    kept = reference.digest(RESULTS)
    machines = [{"processor": "Another", "system": "Linux"}]
    result = reference.compare(kept, changed(kept, 1 + 1e-5, machines=machines))
    assert result["line"].startswith("the same within tolerance: ")
    assert "this is Another" in result["line"]
    assert result["other_bytes"] == ["interpolation/sharpness/tiny-llama.parquet"]
    result = reference.compare(kept, changed(kept, 1.01))
    assert (
        "1 of the estimates differ by more than expected, the first: sharpness/tiny-llama"
        in (result["line"])
    )
    # of other weights, an interval that overlaps is enough
    weights = kept["weights"] | {"tiny-llama": {"model.safetensors": "1" * 64}}
    result = reference.compare(kept, changed(kept, 1.01, weights=weights))
    assert result["differences"] == []


def test_another_verdict_is_a_difference(inside: Path) -> None:
    kept = reference.digest(RESULTS)
    recorded = json.loads(json.dumps(kept))
    recorded["claims"]["regions"]["verdict"] = "another"
    [line] = reference.compare(kept, recorded)["differences"]
    assert line.startswith("claim regions: another, and ")


# The RO-Crate

CORE, TERMS = (
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
)
# What the validator says of the rest, and why that cannot be said here.
NOT_SAID = (
    "The SoftwareApplication id SHOULD be an absolute URI",  # a file of the crate has none
    "The organization SHOULD have a URL.",  # the project has no public address
    # no job ran in a container, none is told anything by environment variables
    "The Action MAY have a containerImage",
    "The Action MAY have an environment",
    "The Workflow MAY have an environment",
    "A tool MAY have an environment",
    "The tool MAY have a mainEntity that points to a SoftwareApplication",  # scripts wrap nothing
    "HowToStep may have a connection property",  # the first ones read no other's output
    # the workflow is Snakemake's, not CWL's, and has no picture
    "The Crate MAY contain a Main Workflow Diagram; if present it MUST be referred to via 'image'",
    "main workflow does not have an 'image' property",
    "The Crate MAY contain a Main Workflow CWL Description; "
    "if present it MUST be referred to via 'subjectOf'",
    "main workflow does not have a 'subjectOf' property",
    "The test/ dir should be a Dataset",
    "The examples/ dir should be a Dataset",
    # nothing is published
    "The Directory Data Entity MAY have a `distribution` property to denote the distribution of "
    "the files within the directory",
    "The File Data Entity MAY have a formal identifier specified through an `identifier` property",
    "The File Data Entity MAY use a `url` property to denote a `download` link",
    "The File Data Entity MAY include a `subjectOf` property to link `CreativeWork` instances that "
    "mention it.",
    "The File Data Entity MAY have a `mainEntityOfPage` property",
)


def context_of(url: str) -> dict[str, str]:
    """What stands behind the crate's two contexts: no test asks the network for them.

    The first is that of a later version, which `rocrate` brings, with the terms that version 1.1
    spells otherwise or lacks.
    """
    if url == TERMS:
        names = ["sha256", "connection", "sourceParameter", "targetParameter", "environment"]
        names += ["ParameterConnection", "containerImage", "resourceUsage"]
        return {name: f"https://w3id.org/ro/terms/workflow-run#{name}" for name in names}
    assert url == CORE
    terms = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())
    recorded = {
        name: value.replace("bioschemas.org/terms/", "bioschemas.org/")
        for name, value in terms["@context"].items()
        if isinstance(value, str) and name not in ("sha256", "buildInstructions")
    }
    workflow = "https://bioschemas.org/ComputationalWorkflow"
    return recorded | {"input": f"{workflow}#input", "output": f"{workflow}#output"}


class Offline:
    """A session that knows the two contexts, and nothing else."""

    cache = None

    def get(self, url: str, **_: Any) -> requests.Response:
        response = requests.Response()
        response.url, response.status_code = url, 504
        if url in (CORE, TERMS):
            response.status_code = 200
            response.headers["Content-Type"] = "application/ld+json"
            response._content = json.dumps({"@context": context_of(url)}).encode()
        return response

    head = post = get

    def close(self) -> None:
        pass


def cut(recorded: dict[str, Any], target: str) -> dict[str, Any]:
    """The part of a manifest that is behind one file."""
    every = recorded["files"] | recorded["inputs"]
    todo, paths, numbers = [target], set[str](), set[int]()
    while todo:
        path = todo.pop()
        if path in every and path not in paths:
            paths.add(path)
            if (number := every[path]["job"]) is not None:
                numbers.add(number)
                job = recorded["jobs"][number]
                todo += [f["path"] for part in ("input", "output") for f in job[part]["files"]]
    new = {number: place for place, number in enumerate(sorted(numbers))} | {None: None}
    return recorded | {
        "jobs": [recorded["jobs"][number] for number in sorted(numbers)],
        **{
            part: {p: e | {"job": new[e["job"]]} for p, e in recorded[part].items() if p in paths}
            for part in ("files", "inputs")
        },
    }


@pytest.fixture
def issues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the validator all that it can find wrong with a crate, however optional."""

    def start(self: Any, *_: Any, **__: Any) -> None:
        self.session = Offline()

    monkeypatch.setattr(HttpRequester, "__initialize_session__", start)

    def ask(folder: Path) -> set[str]:
        settings = ValidationSettings(
            rocrate_uri=str(folder),
            profile_identifier="provenance-run-crate",
            requirement_severity=Severity.OPTIONAL,
            cache_path=tmp_path / "cache",
            offline=True,
        )
        result = services.validate(settings)
        assert len(result.executed_checks) > 200
        return {str(issue.message) for issue in result.get_issues()}

    return ask


@pytest.fixture
def small(inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The crate of what is behind one figure, with little of the code: the validator is slow."""
    recorded = cut(manifests.read(RESULTS), "results/tiny/figures/fig2.pdf")
    assert len(recorded["jobs"]) > 4
    folder = tmp_path / "small"
    names = [*recorded["files"], RESULTS / "manifest.json", RESULTS / "README.md"]
    code = [path for one in ("Snakefile", "requirements.lock", "envs/*", "scripts/*.py")
            for path in (RESULTS / "workflow").glob(one)]  # fmt: skip
    for path in (*names, *code):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path)
    monkeypatch.chdir(folder)
    metadata = crate.describe(RESULTS, recorded)
    (RESULTS / "ro-crate-metadata.json").write_text(json.dumps(metadata))
    (RESULTS / "ro-crate-preview.html").write_text(crate_pages.preview(metadata))
    return RESULTS


def test_the_crate_passes_the_validator_at_its_strictest(issues: Any, small: Path) -> None:
    assert issues(small) <= set(NOT_SAID)


def test_the_validator_sees_what_is_wrong(issues: Any, small: Path) -> None:
    path = small / "ro-crate-metadata.json"
    recorded = read_json(path)
    entities = {one["@id"]: one for one in recorded["@graph"]}
    left_out = [  # each is told by other checks than the rest
        ("./", "license"), ("#parameter/compute.seed", "additionalType"),
        ("#control/0", "instrument"), ("#step/model", "workExample"), ("#organisation", "result"),
        ("#job/0/wall-time", "propertyID"), ("#job/1", "agent"),
        ("#connection/0", "sourceParameter"),
    ]  # fmt: skip
    for entity, key in left_out:
        del entities[entity][key]
    path.write_text(json.dumps(recorded))
    result = issues(small) - set(NOT_SAID)
    assert [key for _, key in left_out if not any(key in issue for issue in result)] == []


def graph_of(results: Path) -> dict[str, dict[str, Any]]:
    return {one["@id"]: one for one in read_json(results / "ro-crate-metadata.json")["@graph"]}


def test_the_crate_holds_every_job_and_what_it_passed_on(inside: Path) -> None:
    graph, recorded = graph_of(RESULTS), manifests.read(RESULTS)
    kinds = [one["@type"] for one in graph.values()]
    assert kinds.count("ControlAction") == len(recorded["jobs"])
    assert kinds.count("CreateAction") == len(recorded["jobs"]) + 1
    number = recorded["files"]["results/tiny/figures/fig2.pdf"]["job"]
    job, action = recorded["jobs"][number], graph[f"#job/{number}"]
    assert action["instrument"] == {"@id": "workflow/scripts/draw_figure.py"}
    assert {"@id": "figures/fig2.csv"} in action["result"]
    assert {"@id": "tables/examples_paths.csv"} in action["object"]
    assert (action["startTime"], action["endTime"]) == (job["started"], job["ended"])
    taken = {graph[one["@id"]]["name"]: graph[one["@id"]] for one in action["resourceUsage"]}
    assert float(taken["peak memory"]["value"]) == job["usage"]["peak_mb"] > 50
    assert float(taken["processor time"]["value"]) == job["usage"]["cpu_s"] > 0.1
    assert graph["#step/figure"]["buildInstructions"] == {"@id": "workflow/requirements.lock"}
    ends = {(one["sourceParameter"]["@id"], one["targetParameter"]["@id"])
            for one in graph.values() if one["@type"] == "ParameterConnection"}  # fmt: skip
    assert ("#scripts/measure.py/output/output", "#scripts/gather.py/input/shards") in ends
    assert ("#scripts/draw_figure.py/output/pdf", "#output/figures") in ends
    position = {one["name"]: int(one["position"])
                for one in graph.values() if one["@type"] == "HowToStep"}  # fmt: skip
    assert position["model"] < position["cache_activations"] < position["interpolate"]
    assert position["interpolate"] < position["interpolation_tables"] < position["figure"]


def test_a_step_names_the_environment_that_it_ran_in(small: Path) -> None:
    recorded = read_json(RESULTS / "manifest.json")
    recorded = cut(recorded, "results/tiny/figures/fig2.pdf")
    for job in recorded["jobs"]:
        if job["rule"] == "figure":
            job["conda"] = sha256(RESULTS / "workflow/envs/figures.yaml")
    graph = {one["@id"]: one for one in crate.describe(RESULTS, recorded)["@graph"]}
    assert graph["#step/figure"]["buildInstructions"] == {"@id": "workflow/envs/figures.yaml"}
    assert graph["#step/model"]["buildInstructions"] == {"@id": "workflow/requirements.lock"}
    assert "conda" in graph["workflow/envs/figures.yaml"]["conformsTo"]["@id"]


def test_what_a_job_made_and_none_read_is_in_the_crate_too(small: Path) -> None:
    recorded = cut(read_json(RESULTS / "manifest.json"), "results/tiny/figures/fig2.pdf")
    path, entry = next((p, e) for p, e in recorded["inputs"].items() if e["job"] is not None)
    del recorded["inputs"][path]
    graph = {one["@id"]: one for one in crate.describe(RESULTS, recorded)["@graph"]}
    assert graph[f"#{path}"]["sha256"] == entry["sha256"]


def test_the_page_of_the_crate_shows_it_and_runs_nothing(inside: Path) -> None:
    metadata = read_json(RESULTS / "ro-crate-metadata.json")
    page = crate_pages.preview(metadata)
    for shown in ('href="paper.pdf"', 'href="workflow/scripts/measure.py"', "cache_activations"):
        assert shown in page
    assert "default-src 'none'" in page
    hostile = "<script>alert(1)</script>"
    for one in metadata["@graph"]:
        if "name" in one:
            one["name"] += hostile
    assert hostile not in crate_pages.preview(metadata)


def test_the_folder_says_what_lies_in_it(inside: Path) -> None:
    text = (RESULTS / "README.md").read_text()
    on_disk = {path.name for path in RESULTS.iterdir()} - {"README.md"}
    assert {name for name in on_disk if f"| `{name}` | " not in text} == set()


def test_the_crate_holds_inputs_outputs_and_versions(inside: Path) -> None:
    graph = graph_of(RESULTS)
    run = graph["#run"]
    given = {one["@id"] for one in run["object"]}
    text = graph["#sources/tiny.txt"]
    assert text["sha256"] == sha256("sources/tiny.txt")
    model = graph["#resources/models/tiny-llama"]
    assert model["license"] == "none needed"
    assert sha256("resources/models/tiny-llama/model.safetensors") in model["description"]
    assert {text["@id"], model["@id"], "#value/compute.seed"} <= given
    assert graph["#value/compute.seed"]["value"] == "0"
    made = {one["@id"]: graph[one["@id"]]["sha256"] for one in run["result"]}
    assert made["paper.pdf"] == sha256(RESULTS / "paper.pdf")
    assert made["manifest.json"] == sha256(RESULTS / "manifest.json")
    software = [one for one in graph.values() if one["@type"] == "SoftwareApplication"]
    versions = {one["name"]: one["softwareVersion"] for one in software}
    assert versions["torch"].startswith("2.13")
    assert "workflow/scripts/measure.py" in graph


def test_the_crate_is_a_function_of_the_manifest(inside: Path) -> None:
    recorded = read_json(RESULTS / "ro-crate-metadata.json")
    assert crate.describe(RESULTS, manifests.read(RESULTS)) == recorded


def test_snakemake_is_named_where_no_job_s_environment_has_it(inside: Path) -> None:
    """As in conda's environments."""
    recorded = manifests.read(RESULTS)
    for environment in recorded["environments"]:
        environment.pop("snakemake", None)
    graph = {one["@id"]: one for one in crate.describe(RESULTS, recorded)["@graph"]}
    engine = graph[graph["#organisation"]["instrument"]["@id"]]
    assert engine["name"] == "snakemake"
    assert engine["softwareVersion"] == recorded["snakemake"] == version("snakemake")


def test_a_kind_that_has_no_sample_could_not_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = Path("results/x/raw/a/m.parquet")
    compute = {"device": "cpu", "threads": 1}
    facts = {"model": "m", "engine": "fused", "dtype": "float32", "compute": compute}
    facts["experiment"] = {"kind": "unheard", "prompts": "p"}
    monkeypatch.setattr(verify, "raw_of_models", lambda *_: {"m": [raw]})
    monkeypatch.setattr(verify, "facts_of", lambda _: facts)
    monkeypatch.setattr(sampling, "facts_of", lambda _: facts)
    monkeypatch.setattr(verify, "read_parquet", lambda _: (pd.DataFrame(), {}))
    monkeypatch.setattr("stable_regions.models.load.load_model", lambda *_, **__: None)
    (tmp_path / "m").mkdir()
    report = verify.Report()
    verify.check_samples({}, Path("results/x"), tmp_path, 0, report)
    assert not report.different
    [line] = report.unchecked
    assert "of unheard: none" in line
