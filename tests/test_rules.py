"""What every rule has: an environment, a log, a message, and what a scheduler is told of it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts._forking import MEMORY
from stable_regions.audit.records import load_records
from stable_regions.base.files import read_json
from stable_regions.estimate.costs import cost_table
from tests.tiny_study import ROOT

# A workflow that tells of our rules, as Snakemake has understood them.
TELL = """
import json
import os


include: "{root}/Snakefile"


for each in workflow.rules:
    has = {{
        "name": each.name,
        "script": each.script and each.script[len("../scripts/"):],
        "environment": each.conda_env,
        "makes": bool(each.output),
        "log": bool(each.log),
        "benchmark": bool(each.benchmark),
        "message": each.message,
        "asks": list(each.resources),
        "environ": dict(os.environ),
    }}
    print(json.dumps(has))
"""
# Downloads, which tell of a network; what `--cache` shares, and can't with a benchmark; an audit.
UNTIMED = {
    "package", "hub_corpus", "hub_config", "hub_model", "hub_checkpoint", "packaged_model",
    "comparison",
}  # fmt: skip
# What is made after the table of costs, or of it.
LAST = {"paper", "explorer", "manifest", "crate"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rules of the embedded study that run a script."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "Snakefile").write_text(TELL.format(root=ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--directory", str(folder), "--snakefile",
         str(folder / "Snakefile"), "--dry-run", "plan"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    result = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [rule for rule in result if rule["script"]]


@pytest.mark.workflow
def test_scripts_start_with_what_keeps_the_memory_that_they_free(
    rules: list[dict[str, Any]],
) -> None:
    assert all(rule["environ"].items() >= MEMORY.items() for rule in rules)


@pytest.mark.workflow
def test_every_rule_has_an_environment_a_log_and_a_message(rules: list[dict[str, Any]]) -> None:
    assert {rule["script"] for rule in rules} == {
        path.name for path in (ROOT / "scripts").glob("[!_]*.py")
    }
    bare = [r["name"] for r in rules if not (r["environment"] and r["log"] and r["message"])]
    assert bare == []


@pytest.mark.workflow
def test_every_rule_that_computes_has_a_benchmark(rules: list[dict[str, Any]]) -> None:
    assert {rule["name"] for rule in rules if rule["makes"] and not rule["benchmark"]} == UNTIMED


@pytest.mark.workflow
def test_what_runs_a_model_asks_for_room_time_and_a_gpu_and_nothing_else_for_a_gpu(
    rules: list[dict[str, Any]],
) -> None:
    texts = {path.name: path.read_text() for path in (ROOT / "scripts").glob("[!_]*.py")}
    scripts = {name for name, text in texts.items() if re.search(r"\b(load_)?models?\(", text)}
    scripts |= {"check_independent.py", "verify.py"}  # the library loads the models of these
    running = {rule["name"] for rule in rules if rule["script"] in scripts}
    assert {"interpolate", "interpolate_checkpoints"} <= running
    assert {rule["name"] for rule in rules if "gpu" in rule["asks"]} == running
    asking = {rule["name"] for rule in rules if {"mem_mb", "runtime"} <= set(rule["asks"])}
    assert running <= asking


def test_the_costs_are_of_every_job_before_the_paper(tiny: Path) -> None:
    timed = read_json(tiny / "logs/tiny/paper.record.json")["params"]["benchmarks"]
    jobs = [record["rule"] for record in load_records(tiny / "logs")]
    table = cost_table({stage: [tiny / path for path in paths] for stage, paths in timed.items()})
    assert set(table["stage"]) == set(timed)
    assert table["jobs"].sum() == sum(job not in {*UNTIMED, *LAST, "claim"} for job in jobs)
