"""The documents: nothing left to fill in, every path in them is there, every command can be run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_study import ROOT, snakemake

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CITATION.cff"]
# A word with a slash or the ending of a file.
PATH = re.compile(
    r"(?=.*/|.*\.(json|pdf|html|csv|md|yaml|py|lock|parquet|safetensors)$)[\w@.<>*{},/-]+"
)
# A user's own file, and what a command leaves.
ELSEWHERE = {"mine.yaml", "logs/<study>/trace.json", ".snakemake/slurm_logs"}


def test_nothing_is_left_to_fill_in() -> None:
    left = set(re.findall(r"\b[A-Z]{2,}_[A-Z]+\b", README)) - {"HF_HOME", "HF_TOKEN", "HF_ENDPOINT"}
    assert not left


def alternatives(path: str) -> list[str]:
    """A path as documents write it, as patterns of files: `<any>`, `{one,other}`."""
    path = re.sub(r"<\w+>", "*", path)
    if not (braces := re.search(r"\{([^}]*)\}", path)):
        return [path]
    return [path.replace(braces[0], each) for each in braces[1].split(",")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_are_there(document: Path, tiny: Path) -> None:
    """In the checkout, or among what a finished study has made."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    missing = [path for path in linked if not (document.parent / path).exists()]
    named = {name for name in re.findall(r"`([^`\n]+)`", text) if PATH.fullmatch(name)}
    for path in sorted(named - ELSEWHERE):
        made = path.replace("embedded", "tiny")
        for one in alternatives(made):
            found = f"*{one}" if one.startswith(".") else one
            places = (ROOT, tiny, tiny / "results" / "tiny")
            if not any(any(place.glob(found)) for place in places) and not any(
                (tiny / "results" / "tiny").rglob(found)
            ):
                missing.append(one)
    assert not missing
    assert named or document.name != "README.md"


def blocks(language: str = "") -> list[str]:
    """The README's blocks of code in a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [text for written_in, text in found if written_in == language]


def test_the_layout_is_as_it_is_drawn() -> None:
    [drawn] = [block for block in blocks() if block.startswith("Snakefile ")]
    names = [line.split()[0] for line in drawn.splitlines()]
    assert [name for name in names if not (ROOT / name).exists()] == []
    tracked = subprocess.run(
        ["git", "ls-tree", "-d", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert [name for name in tracked if f"{name}/" not in drawn and name[0] != "."] == []


def lines() -> list[str]:
    """Every line of the README's blocks, without its comment, and every command in its text."""
    found = [line.partition(" #")[0].strip() for block in blocks() for line in block.splitlines()]
    return list(dict.fromkeys(found + re.findall(r"`([^`\n]+)`", README)))


def commands() -> list[str]:
    """Every Snakemake command, as it stands.

    But patterns (NAME), what needs conda (tests/test_conda.py), the how-to, which
    tests/test_adding_a_model.py does, and the report, which is of a run that was made
    (tests/test_report.py).
    """
    found = [line for line in lines() if re.match(r"(\.venv/bin/)?snakemake\b", line)]
    other = re.compile(r"NAME|--sdm|mine\.yaml|--report")
    return [line for line in found if not other.search(line)]


# Whichever way Snakemake is called: what it is told is tried once.
@pytest.mark.parametrize("arguments", dict.fromkeys(" ".join(c.split()[1:]) for c in commands()))
def test_every_snakemake_command_can_be_planned(arguments: str, tmp_path: Path) -> None:
    """In an empty folder, with nothing made yet: the targets are known, the options are right."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
         "--directory", str(tmp_path), *shlex.split(arguments), "--dry-run", "--quiet", "all"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    "command", [line for line in commands() if re.search(r"target=[a-z]|/(figures|claims)/", line)]
)
def test_commands_on_results_run_on_those_of_a_study(command: str, tiny: Path) -> None:
    """As they stand, but for the study's name."""
    _, *arguments = shlex.split(command.replace("embedded", "tiny"))
    done = snakemake(tiny, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_make_target_is_there() -> None:
    targets = {line.split()[1] for line in lines() if re.fullmatch(r"make \w+", line)}
    assert targets >= {"reproduce", "test", "check", "lock"}
    done = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_here(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_lines_of_python_run(tiny: Path) -> None:
    [code] = blocks("python")
    run_here(tiny, "-c", code.replace("embedded", "tiny").replace("smollm2-135m", "tiny-llama"))


def test_the_benchmark_runs(tiny: Path, tmp_path: Path) -> None:
    [line] = [line for line in lines() if line.startswith("python ")]
    _, *arguments = line.split()
    model, out = "resources/models/tiny-llama", str(tmp_path)
    run_here(tiny, *arguments, model, "--threads", "1", "--repeats", "1", "--out", out)
    assert {path.name for path in tmp_path.iterdir()} >= {"engine.csv", "engine.pdf", "memory.csv"}
