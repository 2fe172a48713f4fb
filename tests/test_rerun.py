"""One recorded job runs again in one process, into a folder of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stable_regions.audit.provenance import code_digest
from stable_regions.audit.records import load_records, path_digest
from tests.tiny_study import ROOT

pytestmark = pytest.mark.process

TABLE = "results/x/tables/losses.csv"
SCRIPT = "scripts/tabulate_losses.py"


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """What a job that made a table of one model's losses left, in the folder of its run."""
    folder = tmp_path / "run" / "resources" / "training" / "m"
    folder.mkdir(parents=True)
    (folder / "loss.csv").write_text("step,loss\n0,1.5\n", encoding="utf-8")
    table = tmp_path / "run" / TABLE
    table.parent.mkdir(parents=True)
    table.write_text("as it was\n", encoding="utf-8")
    given = [{"path": "resources/training/m", "sha256": path_digest(folder)}]
    return {
        "rule": "losses",
        "script": SCRIPT,
        "wildcards": {"study": "x"},
        "params": {"models": ["m"], "code": code_digest(ROOT / SCRIPT)},
        "threads": 1,
        "input": {"files": given, "names": {}},
        "output": {"files": [{"path": TABLE, "sha256": ""}], "names": {}},
    }


def rerun(folder: Path, record: Any, *arguments: str, pdb: tuple[str, ...] = ()) -> Any:
    path = folder / "run" / "logs" / "x" / "losses.record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    command = [sys.executable, *pdb, "-m", "stable_regions.audit.rerun", str(path), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, stdin=subprocess.DEVNULL,
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip


def test_outputs_go_to_a_new_folder_which_is_told(tmp_path: Path, record: dict[str, Any]) -> None:
    done = rerun(tmp_path, record)
    assert done.returncode == 0, done.stderr
    [message] = done.stdout.splitlines()
    into = Path(re.fullmatch(rf"losses: {SCRIPT} again; outputs and log below (.*)", message)[1])
    assert into.parent == tmp_path
    assert (into / TABLE).read_text(encoding="utf-8") == "model,step,loss\nm,0,1.5\n"
    assert (tmp_path / "run" / TABLE).read_text(encoding="utf-8") == "as it was\n"
    [again] = load_records(into)
    same = ("rule", "script", "wildcards", "params", "input")
    assert [again[key] for key in same] == [record[key] for key in same]


def test_the_folder_can_be_named_and_other_code_is_told(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    record["params"]["code"] = "0" * 16
    done = rerun(tmp_path, record, "--into", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The code has changed since.\n")
    assert (tmp_path / "mine" / TABLE).exists()


def test_a_breakpoint_stops_it(tmp_path: Path, record: dict[str, Any]) -> None:
    lines = (ROOT / "stable_regions/base/files.py").read_text(encoding="utf-8").splitlines()
    [place] = [number for number, line in enumerate(lines, 1) if "table.to_csv" in line]
    orders = [f"break stable_regions/base/files.py:{place}", "continue",
              "print('at', table['loss'].tolist())", "continue", "quit"]  # fmt: skip
    pdb = ("-m", "pdb", *(part for order in orders for part in ("-c", order)))
    assert "at [1.5]" in rerun(tmp_path, record, pdb=pdb).stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("params"), "not a record of a job"),
        (lambda r: r.update(script="scripts/evil.py"), "scripts/evil.py"),
        (lambda r: r["output"]["files"][0].update(path="/tmp/x"), "/tmp/x"),
        (lambda r: r["input"]["files"][0].update(path="gone"), "gone: "),
        (lambda r: r["params"].update(models=[]), r"error: ValueError: .* \(traceback in .*log\)"),
    ],
)
def test_what_goes_wrong_is_one_line(
    tmp_path: Path, record: dict[str, Any], change: Any, message: str
) -> None:
    change(record)
    done = rerun(tmp_path, record)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert re.search(message, line)
    assert "error: " in line


def test_a_record_that_is_not_there_is_one_line() -> None:
    command = [sys.executable, "-m", "stable_regions.audit.rerun", "logs/none.record.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: logs/none\.record\.json: not a readable JSON.*\n", done.stderr)
