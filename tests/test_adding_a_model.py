"""The how-to of docs/models.md, done as it says: a folder, a GGUF file, a hub name and a twin."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stable_regions.base.files import read_parquet
from tests.background import BackgroundRun
from tests.gguf_model import write_gguf
from tests.hub_stand_in import Repository, serve
from tests.tiny_study import CONFIG, ROOT, make_sources, snakemake

GUIDE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
SECTION = GUIDE.partition("## Adding a model\n")[2].partition("\n## ")[0]
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


def on_small(command: list[str]) -> list[str]:
    """The command, made small, on this checkout's Snakefile."""
    at = command.index("mine.yaml") + 1
    started = [sys.executable, "-m", *command[:at], "small.yaml", *command[at:]]
    return [*started, "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]


def test_the_how_to_is_short() -> None:
    text = SECTION[: SECTION.index("and run `")] + "and run"
    lines = [line for line in text.splitlines() if line.strip() and "```" not in line]
    assert len(lines) <= 10


@contextmanager
def run(folder: Path) -> Iterator[BackgroundRun]:
    """The how-to's entry and command, beside the tests."""
    entry, command = how_to()
    (folder / "mine.yaml").write_text(entry)
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    make_sources(folder)
    (folder / "models").mkdir()
    own = (folder / "sources" / "tiny-llama").rename(folder / "models" / "my-model")
    write_gguf(own, folder / "models" / "my-model.gguf")
    with serve() as hub:
        hub.repositories["my-name/my-model"] = Repository({"main": folder / "sources/tiny-gpt2"})
        environment = hub.environment(folder / "hf-home")
        yield BackgroundRun(folder, on_small(command), environment)


def test_the_how_to_does_what_it_says(background_run: BackgroundRun) -> None:
    results = background_run.ended() / "results" / "mine"
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


def test_verify_names_what_was_changed_by_hand(background_run: BackgroundRun) -> None:
    """The smallest study stands for all: `verify` makes a whole one again."""
    folder = background_run.ended()
    table = folder / "results" / "mine" / "tables" / "sharpness.csv"
    whole = table.read_text()
    table.write_text(whole.replace("my-twin", "my-twins", 1))
    verify = [*on_small(how_to()[1]), "verify"]
    done = subprocess.run(verify, cwd=folder, capture_output=True, text=True)
    table.write_text(whole)
    message = done.stdout + done.stderr
    assert done.returncode != 0
    assert "different: results/mine/tables/sharpness.csv: " in message
    assert "Traceback" not in message


@pytest.mark.workflow
def test_a_folder_of_any_name_is_read(tmp_path: Path) -> None:
    """Braces are a wildcard to Snakemake, and a folder may be called as a GGUF file is."""
    make_sources(tmp_path)
    odd = tmp_path / "{x}"
    (tmp_path / "sources").rename(odd)
    own = (odd / "tiny-llama").rename(odd / "my.gguf")
    source = {"kind": "local", "path": str(own)}
    changes = {
        "models": {"tiny-llama": {"source": source}, "tiny-gpt2": {"source": source}},
        "corpora": {"tiny": {"kind": "local", "path": str(odd / "tiny.txt")}},
    }
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(changes))
    made = ("resources/corpora/tiny.parquet", "resources/models/tiny-llama")
    configs = ("--configfile", str(CONFIG), str(tmp_path / "odd.yaml"))
    done = snakemake(tmp_path, *configs, "--", *made)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / path).exists() for path in made)
    (odd / "tiny.txt").write_text("other words")
    dry_run = snakemake(tmp_path, *configs, "--dry-run", "--", *made)
    assert "Read the corpus tiny" in dry_run.stdout + dry_run.stderr
    assert "Make the model folder" not in dry_run.stdout + dry_run.stderr
