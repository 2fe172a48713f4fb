"""The workflow as a module of another one, with a configuration of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
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
PAIRS = "results/tiny/prompts/tiny/tiny-llama.pairs.parquet"


def run(folder: Path, config: dict[str, Any], *arguments: str) -> str:
    """Run the other workflow with this configuration of its own, and give what that printed."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--directory", str(folder), "--cores", "2",
         "--snakefile", str(folder / "Snakefile"), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.mark.workflow
def test_another_workflow_runs_our_rules_with_its_own_configuration(tmp_path: Path) -> None:
    make_sources(tmp_path)
    (tmp_path / "Snakefile").write_text(OTHER.format(root=ROOT, tiny=CONFIG))
    run(tmp_path, MINE)
    assert len(pd.read_parquet(tmp_path / PAIRS)) == 30
    check = json.loads(
        (tmp_path / "results/tiny/activations/tiny/tiny-llama.check.json").read_text()
    )
    assert check["engine"] == "bridge"  # by itself it would be the fused one
    assert check["verdict"] == "passed"
    # with another one, only what depends on the change runs again
    message = run(tmp_path, MINE | {"prompts": {"tiny": {"count": 41}}}, "--", PAIRS)
    assert set(re.findall(r"\(Rule: (\w+)\)", message)) == {"regions_prompts"}
    assert len(pd.read_parquet(tmp_path / PAIRS)) == 40
