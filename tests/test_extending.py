"""The guide's example of a new kind of experiment and a new figure, as it stands there, works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stable_regions.audit import crate
from stable_regions.base.files import read_parquet
from tests.readme import given_files
from tests.tiny_study import ROOT, forking, hashes, make_sources

GUIDE = ROOT / "docs" / "extending.md"
RESULTS = Path("results/mine")


def added(checkout: Path) -> list[str]:
    """Put the guide's files into a checkout, which has none of them, and give their names."""
    files = given_files(GUIDE.read_text(encoding="utf-8"))
    for name, text in files.items():
        path = checkout / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [*files]


def snakemake(checkout: Path, folder: Path, *targets: str, dry: bool = False) -> str:
    """Run the copy's workflow on the study of the guide, and give what was printed."""
    (folder / "shards.yaml").write_text("compute: {shard_points: 30}", encoding="utf-8")
    read = [checkout / "tests/tiny/config.yaml", checkout / "mine.yaml", folder / "shards.yaml"]
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile"),
        "--directory", str(folder), "--cores", "2", "--configfile", *map(str, read),
        *(["--dry-run"] if dry else []), "--", *targets,
    ]  # fmt: skip
    command = command if dry else forking(command)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


@pytest.mark.workflow
def test_a_kind_and_a_figure_are_added_by_new_files_alone(tmp_path: Path) -> None:
    checkout, folder = tmp_path / "checkout", tmp_path / "run"
    crate.copy_code(checkout)
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    names = added(checkout)
    make_sources(folder)
    snakemake(checkout, folder)
    results = folder / RESULTS
    table, facts = read_parquet(results / "halfway/halfway/tiny-llama.parquet")  # of two shards
    assert (len(table), facts["experiment"]["kind"]) == (20, "halfway")
    assert len(pd.read_csv(results / "tables/halfway.csv")) == 4
    assert (results / "figures/figA_halfway.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((results / "numbers.json").read_text())["figures"] == ["figA_halfway"]
    assert re.search(rb"/Title\(\d+ Halfway\)", (results / "paper.pdf").read_bytes())
    held = (results / "ro-crate-metadata.json").read_text(encoding="utf-8")
    assert all(f"workflow/{name}" in held for name in names if name != "mine.yaml")
    made = hashes(folder)
    message = snakemake(checkout, folder, "verify")
    assert "different: " not in message
    assert "of halfway" not in message
    assert re.search(r"checked: \d+ numbers drawn from the raw outputs of 2 models", message)
    assert "Plan the study mine" in snakemake(checkout, folder, "plan", dry=True)
    assert hashes(folder) == made
    assert {path: path.read_bytes() for path in before} == before
