"""The README: nothing left to fill in, every path in it is there, every command can be run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_nothing_is_left_to_fill_in() -> None:
    left = set(re.findall(r"\b[A-Z]{2,}_[A-Z]+\b", README)) - {"HF_HOME", "HF_TOKEN", "HF_ENDPOINT"}
    assert not left


def test_links_and_named_files_are_there() -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    named = re.findall(r"`((?:stable_regions|benchmarks|docs|tests|config)/[\w./-]+)`", README)
    assert linked
    assert named
    missing = [path for path in linked + named if not (ROOT / path).exists()]
    assert not missing


def commands() -> list[str]:
    """Every Snakemake command of the README's blocks and texts, as it stands there.

    But patterns (NAME), what needs conda, the how-to, which tests/test_adding_a_model.py does, and
    the report, which is of a run that was made (tests/test_report.py).
    """
    blocks = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(snakemake[^`]*)`", README)
    found = [line for line in lines + inline if re.match(r"(\.venv/bin/)?snakemake\b", line)]
    other = re.compile(r"NAME|--sdm|mine\.yaml|--report")
    return list(dict.fromkeys(line for line in found if not other.search(line)))


@pytest.mark.parametrize("command", commands())
def test_every_snakemake_command_can_be_planned(command: str, tmp_path: Path) -> None:
    """In an empty folder, with nothing made yet: the targets are known, the options are right."""
    _, *arguments = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
         "--directory", str(tmp_path), *arguments, "--dry-run", "--quiet", "all"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
