"""The workflow as a module of another one, with a configuration of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from tests.tiny_study import CONFIG, ROOT, make_sources

OTHER = """
configfile: "{root}/config.yaml"
configfile: "{tiny}"
configfile: "mine.yaml"


module regions:
    snakefile:
        "{root}/Snakefile"
    config:
        config


use rule * from regions as regions_*


rule mine:
    default_target: True
    input:
        "results/tiny/activations/tiny/tiny-llama.check.json",
"""
MINE = {"prompts": {"tiny": {"count": 31}}, "compute": {"engine": "bridge"}}


def test_another_workflow_runs_our_rules_with_its_own_configuration(tmp_path: Path) -> None:
    make_sources(tmp_path)
    (tmp_path / "Snakefile").write_text(OTHER.format(root=ROOT, tiny=CONFIG))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    command = [sys.executable, "-m", "snakemake", "--directory", str(tmp_path), "--cores", "2"]
    done = subprocess.run(
        [*command, "--snakefile", str(tmp_path / "Snakefile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pairs = pd.read_parquet(tmp_path / "results/tiny/prompts/tiny/tiny-llama.pairs.parquet")
    assert len(pairs) == 30
    check = json.loads(
        (tmp_path / "results/tiny/activations/tiny/tiny-llama.check.json").read_text()
    )
    assert check["engine"] == "bridge"  # by itself it would be the fused one
    assert check["verdict"] == "passed"
