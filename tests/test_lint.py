"""The checks of style see what they are there for."""

import subprocess
import sys

import pytest

from tests.tiny_study import ROOT


@pytest.mark.parametrize("place", ["stable_regions/x.py", "scripts/x.py", "tests/x.py"])
def test_undefined_names_are_errors(place: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--quiet", "--stdin-filename", place, "-"]
    for text, code in (("print(snakemake)\n", 0), ("print(undefined)\n", 1)):
        done = subprocess.run(ruff, input=text.encode(), cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == code, done.stdout


@pytest.mark.parametrize(("module", "fails"), [("stable_regions.x", True), ("numpy.x", False)])
def test_a_warning_about_our_code_is_an_error(module: str, fails: bool) -> None:
    warn = "import warnings\nwarnings.warn('this goes in the next version', DeprecationWarning)\n"
    with pytest.raises(DeprecationWarning) if fails else pytest.warns(DeprecationWarning):
        exec(warn, {"__name__": module})


def test_no_file_names_a_place_outside_the_repository() -> None:
    files = [ROOT / "Makefile", ROOT / "Snakefile", *ROOT.glob("*/*.py"), *ROOT.glob("rules/*.smk")]
    outside = f"..{'/'}shared"
    assert [p for p in files if outside in p.read_text(encoding="utf-8")] == []
