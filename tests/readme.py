"""The README's commands, as they stand there."""

import re
import shlex

from tests.tiny_study import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str = "") -> list[str]:
    """The README's blocks of code in a language."""
    result = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [text for written_in, text in result if written_in == language]


def lines() -> list[str]:
    """Every line of the README's blocks, without its comment, and every command in its text."""
    result = [line.partition(" #")[0].strip() for block in blocks() for line in block.splitlines()]
    return list(dict.fromkeys(result + re.findall(r"`([^`\n]+)`", README)))


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
    """What the README's one Snakemake command that begins with this word tells it, for a study."""
    told = {line.partition("snakemake ")[2] for line in lines() if "snakemake " in line}
    [line] = {line for line in told if line.split() and line.split()[0] == first}
    return shlex.split(line.replace("embedded", study))


# Runs each rule in its own environment. They lie where this checkout's own are, so that they are
# made once.
CONDA = [*arguments("--sdm"), "--conda-prefix", str(ROOT / ".snakemake" / "conda")]
