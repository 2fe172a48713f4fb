"""The documents: nothing left to fill in, every path in them is there, every command can be run."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked
from tests.documents import DOCUMENTS, arguments, blocks, given_files, lines, read
from tests.tiny_study import CONFIG, ROOT, snakemake

# A word with a slash or the ending of a file.
PATH = re.compile(
    r"(?=.*/|.*\.(json|pdf|html|csv|md|yaml|py|lock|parquet|safetensors)$)[\w@.<>*{},/-]+"
)
# A user's own file, and what a command leaves.
ELSEWHERE = {
    "<study>.inveniordm.json",
    "<study>.zenodo.json",
    "mine.yaml",
    "reference/<study>.<processor>.json",
    "config.json",
    "logs/<study>/trace.json",
    ".snakemake/slurm_logs",
}


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "CITATION.cff"], ids=str)
def test_nothing_is_left_to_fill_in(document: Path) -> None:
    assert not re.findall(r"\b[A-Z]{2,}_[A-Z]+\b", read(document))


def test_the_readme_is_a_screen_and_a_half() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= 120


def alternatives(path: str) -> list[str]:
    """A path as documents write it, as patterns of files: `<any>`, `{one,other}`."""
    path = re.sub(r"<\w+>", "*", path)
    if not (braces := re.search(r"\{([^}]*)\}", path)):
        return [path]
    return [path.replace(braces[0], each) for each in braces[1].split(",")]


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CITATION.cff"], ids=lambda p: p.name)
def test_links_and_named_files_are_there(document: Path, tiny: Path) -> None:
    """In the checkout, in the document, or among what a finished study has made."""
    whole = read(document)
    text = re.sub(r"^( *)```.*?^\1```$", "", whole, flags=re.M | re.S)
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    missing = [path for path in linked if not (document.parent / path).exists()]
    named = {name for name in re.findall(r"`([^`\n]+)`", text) if PATH.fullmatch(name)}
    for path in sorted(named - ELSEWHERE - given_files(whole).keys()):
        made = path.replace("embedded", "tiny")
        for one in alternatives(made):
            result = f"*{one}" if one.startswith(".") else one
            places = (ROOT, tiny, tiny / "results" / "tiny")
            if not any(any(place.glob(result)) for place in places) and not any(
                (tiny / "results" / "tiny").rglob(result)
            ):
                missing.append(one)
    assert not missing
    assert linked or named or document.name not in ("README.md", "results.md")


def test_the_layout_is_as_it_is_drawn() -> None:
    text = read(ROOT / "docs" / "architecture.md")
    [drawn] = [block for block in blocks(text) if block.startswith("Snakefile ")]
    names = [line.split()[0] for line in drawn.splitlines()]
    assert [name for name in names if not (ROOT / name).exists()] == []
    tracked = subprocess.run(
        ["git", "ls-tree", "-d", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert [name for name in tracked if f"{name}/" not in drawn and name[0] != "."] == []


def commands() -> list[str]:
    """Every Snakemake command, as it stands.

    But patterns (NAME) and what other tests do as it stands here: the how-to
    (tests/test_adding_a_model.py), the report (tests/test_report.py), the study by conda, `verify`
    and the tiny study in a folder of its own (tests/conftest.py).
    """
    result = [line for line in lines() if re.match(r"(\.venv/bin/)?snakemake\b", line)]
    other = re.compile(r"NAME|--sdm|mine\.yaml|theirs\.yaml|--report|verify|--directory")
    return [line for line in result if not other.search(line)]


# Whichever way Snakemake is called: what it is told is tried once.
@pytest.mark.workflow
@pytest.mark.parametrize("arguments", dict.fromkeys(" ".join(c.split()[1:]) for c in commands()))
def test_every_snakemake_command_can_be_planned(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder, with nothing made yet: the targets are known, the options are right."""
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path))
    done = forked.snakemake(
        "--directory", str(tmp_path), *shlex.split(arguments), "--dry-run", "--quiet", "all"
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    "command", [line for line in commands() if re.search(r"target=[a-z]|/(figures|claims)/", line)]
)
def test_commands_on_results_run_on_those_of_a_study(command: str, tiny: Path) -> None:
    """As they stand, but for the study's name."""
    _, *arguments = shlex.split(command.replace("embedded", "tiny"))
    done = snakemake(tiny, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_reference_that_the_command_keeps_is_what_a_later_run_is_held_against(
    tiny: Path, tmp_path: Path
) -> None:
    """In copies, as the command writes beside the code; of which only files' dates matter here."""
    code, study = tmp_path / "code", tmp_path / "study"
    left_out = shutil.ignore_patterns(
        ".*", "__pycache__", "results", "resources", "logs", "reference"
    )
    shutil.copytree(ROOT, code, ignore=left_out)
    shutil.copytree(tiny, study, symlinks=True)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(code / "Snakefile"),
             "--configfile", str(CONFIG), "--directory", str(study), "--cores", "2", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stderr

    run(*arguments("reference"))
    assert (code / "reference" / "tiny.json").exists()
    message = run("--rerun-triggers", "mtime")
    assert "identical bytes: " in message


def test_every_make_command_is_there() -> None:
    commands = [shlex.split(line) for line in lines() if re.match(r"make [a-z]", line)]
    assert {command[1] for command in commands} >= {"reproduce", "test", "check", "lock"}
    for command in commands:
        done = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def run_here(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_lines_of_python_run(tiny: Path) -> None:
    [code] = blocks(read(ROOT / "docs" / "results.md"), "python")
    run_here(tiny, "-c", code.replace("embedded", "tiny").replace("smollm2-135m", "tiny-llama"))


def test_the_engine_s_benchmark_runs(tiny: Path, tmp_path: Path) -> None:
    [line] = [line for line in lines() if line.startswith("python -m benchmarks.engine")]
    _, *arguments = line.split()
    model, out = "resources/models/tiny-llama", str(tmp_path)
    run_here(tiny, *arguments, model, "--threads", "1", "--repeats", "1", "--out", out)
    assert {path.name for path in tmp_path.iterdir()} >= {"engine.csv", "engine.pdf", "memory.csv"}
