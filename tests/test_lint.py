"""The checks of style see what they are there for."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.tiny_study import ROOT

CODE = ("stable_regions", "scripts", "tools", "benchmarks")


@pytest.mark.process
@pytest.mark.parametrize("place", ["stable_regions/x.py", "scripts/x.py", "tests/x.py"])
def test_undefined_names_are_errors(place: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--quiet", "--stdin-filename", place, "-"]
    for text, code in (("print(snakemake)\n", 0), ("print(undefined)\n", 1)):
        done = subprocess.run(ruff, input=text.encode(), cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == code, done.stdout


@pytest.mark.parametrize(("module", "fails"), [("stable_regions.x", True), ("numpy.x", False)])
def test_a_warning_about_our_code_is_an_error(module: str, fails: bool) -> None:
    warn = "import warnings\nwarnings.warn('it goes', DeprecationWarning)\n"
    expect = pytest.raises if fails else pytest.warns
    with expect(DeprecationWarning, match="it goes"):
        exec(warn, {"__name__": module})


def test_no_file_names_a_place_outside_the_repository() -> None:
    files = [ROOT / "Makefile", ROOT / "Snakefile", *ROOT.glob("*/*.py"), *ROOT.glob("rules/*.smk")]
    outside = f"..{'/'}shared"
    assert [p for p in files if outside in p.read_text(encoding="utf-8")] == []


OPENED_BY_OTHERS = ("os", "tarfile", "zipfile", "gzip", "archive")


def in_the_locale(tree: ast.AST) -> Iterator[int]:
    """Lines of the calls that would read or write text in the encoding of the machine's locale."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        caller, _, name = ast.unparse(node.func).rpartition(".")
        values = [*map(ast.unparse, node.args), keywords.get("mode", "")]
        binary = any(re.fullmatch(r"'[rwxa+]*b[rwxa+]*'", value) for value in values)
        text = (
            name in ("read_text", "write_text", "FileHandler")
            or (name == "open" and not binary and caller not in OPENED_BY_OTHERS)
            or (
                name in ("NamedTemporaryFile", "TemporaryFile")
                and "mode" in keywords
                and not binary
            )
            or (name == "fdopen" and not binary)
            or "True" in (keywords.get("text"), keywords.get("universal_newlines"))
        )
        if text and "encoding" not in keywords:
            yield node.lineno


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        ("path.read_text()", [1]),
        ("path.write_text(x)", [1]),
        ("open(path)", [1]),
        ("path.open('w')", [1]),
        ("subprocess.run(x, text=True)", [1]),
        ("path.read_text(encoding='utf-8')", []),
        ("open(path, 'rb')", []),
        ("os.open(path, os.O_RDWR)", []),
        ("subprocess.run(x, encoding='utf-8')", []),
    ],
)
def test_a_call_without_an_encoding_is_seen(call: str, lines: list[int]) -> None:
    assert list(in_the_locale(ast.parse(call))) == lines


def test_every_file_of_text_is_in_utf8() -> None:
    result = []
    for path in (p for part in CODE for p in ROOT.glob(f"{part}/**/*.py")):
        lines = in_the_locale(ast.parse(path.read_text(encoding="utf-8")))
        result += [f"{path.relative_to(ROOT)}:{line}" for line in lines]
    for path in (ROOT / "Snakefile", *ROOT.glob("rules/*.smk")):
        text = path.read_text(encoding="utf-8")
        calls = re.findall(r"(?:_text|\bopen)\((?:[^()]|\([^()]*\))*\)|text=True", text)
        result += [f"{path.relative_to(ROOT)}: {call}" for call in calls if "encoding=" not in call]
    assert result == []
