"""The documents' commands, as they stand there: README, CONTRIBUTING and all of docs/."""

import re
import shlex
import shutil
import textwrap
from pathlib import Path

from tests.tiny_study import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(text: str, language: str = "") -> list[str]:
    """A document's blocks of code in a language; those of a list are indented."""
    result = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.M | re.S)
    return [textwrap.dedent(code) for _, written_in, code in result if written_in == language]


def lines() -> list[str]:
    """Every line of the documents' blocks, without its comment, and every command in their text."""
    result: list[str] = []
    for text in map(read, DOCUMENTS):
        code = [line for block in blocks(text) for line in block.splitlines()]
        result += [line.partition(" #")[0].strip() for line in code]
        result += re.findall(r"`([^`\n]+)`", text)
    return list(dict.fromkeys(result))


def given_files(text: str) -> dict[str, str]:
    """The files that a document gives: its name in a line, then a block; or "an empty" one."""
    empty = re.findall(r"[Ee]mpty `([\w/.]+)`", text)
    whole = re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S)
    return dict.fromkeys(empty, "") | dict(whole)


def given_entries(text: str) -> list[tuple[str, str, str]]:
    """The entries that a document adds to files: the file, lines that it has, and with more."""
    result = re.findall(r"^In `([\w/.]+)`:\n\n```diff\n(.*?)^```$", text, re.M | re.S)
    return [
        (name, *("".join(line[1:] for line in lines.splitlines(True) if line[0] in signs)
                 for signs in (" ", " +")))
        for name, lines in result
    ]  # fmt: skip


def arguments(first: str, study: str = "tiny") -> list[str]:
    """The arguments of the one Snakemake command that begins with this word, for a study."""
    commands = {line.partition("snakemake ")[2] for line in lines() if "snakemake " in line}
    [line] = {line for line in commands if line.split() and line.split()[0] == first}
    return shlex.split(line.replace("embedded", study))


# Runs each rule in its own environment. They lie where this checkout's own are, so that they are
# made once.
CONDA = [*arguments("--sdm"), "--conda-prefix", str(ROOT / ".snakemake" / "conda")]


def conda() -> list[str]:
    """The same where conda can be had, else nothing."""
    return CONDA if shutil.which("conda") else []
