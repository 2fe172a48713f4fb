"""The guide's examples of what can be added, as they stand there, work."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from transformers import GemmaConfig

from stable_regions.audit import crate
from stable_regions.base.files import read_json, read_parquet
from tests.documents import given_entries, given_files
from tests.test_paper_models import read
from tests.tiny_study import ROOT, hashes, make_sources, save_model, tokenizer

GUIDE = ROOT / "docs" / "extending.md"
RESULTS = Path("results/mine")


def added(checkout: Path) -> list[str]:
    """Put the guide's files into a checkout, which has none of them, and give their names."""
    guide = GUIDE.read_text(encoding="utf-8")
    files = given_files(guide)
    for name, text in files.items():
        path = checkout / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, content, expected in given_entries(guide):
        text = (checkout / name).read_text(encoding="utf-8")
        assert text.count(content) == 1
        (checkout / name).write_text(text.replace(content, expected), encoding="utf-8")
    return [*files]


def make_gemma(folder: Path) -> None:
    """A model of the family that the guide adds."""
    config = GemmaConfig(
        vocab_size=tokenizer().get_vocab_size(), hidden_size=32, intermediate_size=64,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    save_model(folder, config, seed=3)


def snakemake(checkout: Path, folder: Path, *targets: str, dry: bool = False) -> str:
    """Run the copy's workflow on the study of the guide, and give what was printed."""
    (folder / "shards.yaml").write_text("compute: {shard_points: 30}", encoding="utf-8")
    read = [checkout / "tests/tiny/config.yaml", checkout / "mine.yaml", folder / "shards.yaml"]
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile"),
        "--directory", str(folder), "--cores", "2", "--configfile", *map(str, read),
        *(["--dry-run"] if dry else []), "--", *targets,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


@pytest.mark.workflow
def test_what_the_guide_adds_needs_nothing_else(tmp_path: Path) -> None:
    checkout, folder = tmp_path / "checkout", tmp_path / "run"
    crate.copy_code(checkout)
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    names = added(checkout)
    edited = {path for path in before if path.read_bytes() != before[path]}
    assert {path.relative_to(checkout).as_posix() for path in edited} == {
        "stable_regions/measures/distances.py", "stable_regions/models/fused.py",
    }  # fmt: skip
    make_sources(folder)
    make_gemma(folder / "sources" / "tiny-gemma")
    snakemake(checkout, folder)
    results = folder / RESULTS
    # the kind, of two shards
    table, facts = read_parquet(results / "halfway/halfway/tiny-llama.parquet")
    assert (len(table), facts["experiment"]["kind"]) == (20, "halfway")
    assert len(pd.read_csv(results / "tables/halfway.csv")) == 6
    assert (results / "figures/figA_halfway.pdf").read_bytes().startswith(b"%PDF")
    numbers = json.loads((results / "numbers.json").read_text())
    assert numbers["figures"] == ["figA_halfway", "figA_robustness"]
    assert re.search(rb"/Title\(\d+ Halfway\)", (results / "paper.pdf").read_bytes())
    # the source
    _, facts = read_parquet(results / "halfway/halfway/tiny-noisy.parquet")
    assert facts["source"]["kind"] == "noisy"
    # the family
    check = read_json(results / "activations/tiny/tiny-gemma.check.json")
    assert (check["verdict"], check["engine"]) == ("passed", "fused")
    # the distance
    table, facts = read_parquet(results / "robustness/robustness/tiny-llama.parquet")
    assert (table["value"] == "manhattan").sum() == 12
    assert facts["units"].split("; ")[1:] == ["angle: radians", "Manhattan: residual stream"]
    assert "manhattan" in pd.read_csv(results / "figures/figA_robustness.csv")["value"].to_numpy()
    _, text = read(results)
    assert "Distance: the angle itself, and the sum of the coordinates" in text
    assert "distance Manhattan" in text  # in the table
    content = (results / "ro-crate-metadata.json").read_text(encoding="utf-8")
    assert all(f"workflow/{name}" in content for name in names if name != "mine.yaml")
    made = hashes(folder)
    message = snakemake(checkout, folder, "verify")
    assert "different: " not in message
    assert "of halfway" not in message
    assert re.search(r"checked: \d+ numbers drawn from the raw outputs of 3 models", message)
    assert "Plan the study mine" in snakemake(checkout, folder, "plan", dry=True)
    assert hashes(folder) == made
    assert {path: path.read_bytes() for path in before if path not in edited} == {
        path: text for path, text in before.items() if path not in edited
    }
