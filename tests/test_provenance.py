"""The digest of what a script does follows its meaning, through what it imports."""

from pathlib import Path

import pytest

from stable_regions import provenance


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stable_regions"
    folder.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    (folder / "a.py").write_text("from stable_regions import b\nfrom stable_regions.c import x\n")
    (folder / "b.py").write_text('"""Doc."""\ndef f():\n    """Doc."""\n    return 1\n')
    (folder / "c.py").write_text("x = 1\n")
    (folder / "unused.py").write_text("y = 1\n")
    (tmp_path / "script.py").write_text("import numpy\nfrom stable_regions.a import b\n")
    return folder


def digest(package: Path) -> str:
    return provenance.code_digest(package.parent / "script.py")


@pytest.mark.parametrize("module", ["a", "b", "c"])
def test_a_change_in_reach_changes_the_digest(package: Path, module: str) -> None:
    before = digest(package)
    file = package / f"{module}.py"
    file.write_text(file.read_text() + "z = 2\n")
    assert digest(package) != before


def test_a_change_out_of_reach_does_not(package: Path) -> None:
    before = digest(package)
    (package / "unused.py").write_text("y = 2\n")
    assert digest(package) == before


def test_words_about_the_code_do_not_count(package: Path) -> None:
    before = digest(package)
    (package / "b.py").write_text('"""Other."""\n# note\ndef f():\n    """Else."""\n    return 1\n')
    assert digest(package) == before
    (package / "b.py").write_text("def f():\n    return 2\n")
    assert digest(package) != before


def test_versions_are_those_installed() -> None:
    import numpy

    assert provenance.versions(["numpy"])["numpy"] == numpy.__version__
