"""The README's how-to, done as it says: a folder, a GGUF file, a name on the hub, and a twin."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stable_regions.files import read_parquet
from tests.gguf_model import write_gguf
from tests.hub_stand_in import Repository, serve
from tests.tiny_study import ROOT, make_sources

README = (ROOT / "README.md").read_text()
SECTION = README.partition("## Adding a model\n")[2].partition("\n## ")[0]
# What the how-to leaves to the defaults, made small: no text from PyPI, few pairs.
SMALL = {
    "compute": {"threads": 1, "memory_budget_mb": 16, "bootstrap": 50},
    "corpora": {"tiny": {"kind": "local", "path": "sources/tiny.txt"}},
    "prompts": {"tiny": {"kind": "random", "corpus": "tiny", "tokens": 10, "count": 25}},
    "experiments": {"sharpness": {"prompts": "tiny", "pairs": 24, "steps": 8}},
}


def how_to() -> tuple[str, list[str]]:
    """The entry and the command."""
    [entry] = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    [command] = re.findall(r"run `(snakemake .*?)`", SECTION)
    return entry, shlex.split(command)


def test_the_how_to_is_short() -> None:
    text = SECTION[: SECTION.index("and run `")] + "and run"
    lines = [line for line in text.splitlines() if line.strip() and "```" not in line]
    assert len(lines) <= 10


def test_the_how_to_does_what_it_says(tmp_path: Path) -> None:
    entry, command = how_to()
    (tmp_path / "mine.yaml").write_text(entry)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    make_sources(tmp_path)
    (tmp_path / "models").mkdir()
    folder = (tmp_path / "sources" / "tiny-llama").rename(tmp_path / "models" / "my-model")
    write_gguf(folder, tmp_path / "models" / "my-model.gguf")
    command.insert(command.index("mine.yaml") + 1, "small.yaml")
    with serve() as hub:
        hub.repositories["my-name/my-model"] = Repository(
            {"main": tmp_path / "sources" / "tiny-gpt2"}
        )
        command += ["--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path, env=hub.environment(tmp_path / "hf-home"), capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results" / "mine"
    assert (results / "paper.pdf").exists()
    sharp = pd.read_csv(results / "tables" / "sharpness.csv")
    medians = sharp[sharp["read_site"] == "post_norm"].set_index("model")["median"]
    assert set(medians.index) == {"my-folder", "my-gguf", "my-hub", "my-twin"}
    assert medians["my-gguf"] == pytest.approx(medians["my-folder"], rel=1e-3)
    assert medians["my-twin"] != pytest.approx(medians["my-hub"], rel=1e-3)
    tables = [
        read_parquet(results / f"interpolation/sharpness/{name}.parquet")[0]
        for name in ("my-folder", "my-gguf")
    ]
    assert [list(t) for t in tables[0]["tokens_a"]] == [list(t) for t in tables[1]["tokens_a"]]
