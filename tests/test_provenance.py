"""The digest of what a script does follows its meaning, through what it imports."""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stable_regions.audit import provenance
from stable_regions.audit.records import resolve_recorded_path, same_code
from tests.tiny_study import ROOT

MODULES = {
    "__init__": "",
    "a": "from stable_regions import b\nfrom stable_regions.c import x\n",
    "b": '"""Doc."""\ndef f():\n    """Doc."""\n    return 1\n',
    "c": "x = 1\n",
    "unused": "y = 1\n",
    "kinds/__init__": "from .shared import value\n",
    "kinds/shared": "value = 1\n",
    "kinds/line/__init__": "",
    "kinds/line/measure": "from ..shared import value\nfrom . import tables\n",
    "kinds/line/tables": "from ...c import x\n",
    "kinds/plane/__init__": "",
    "kinds/plane/measure": "",
}
LINE = ["kinds/__init__", "kinds/shared", "kinds/line/__init__", "kinds/line/measure"]
# What a script says, and the modules behind it.
IMPORTS = {
    "from stable_regions.a import b": ["__init__", "a", "b", "c"],
    "import stable_regions.kinds.shared as s": ["__init__", "kinds/__init__", "kinds/shared"],
    "from stable_regions.kinds import value": ["__init__", "kinds/__init__", "kinds/shared"],
    "from stable_regions.kinds.line import measure": [*LINE, "kinds/line/tables", "c"],
    "import stable_regions.kinds.line.measure": [*LINE, "kinds/line/tables", "c"],
    "from stable_regions.kinds.line import *": [*LINE, "kinds/line/tables", "c"],
    "from stable_regions.kinds import *": ["kinds/shared", "kinds/plane/__init__"],
    "def f():\n    from stable_regions import c": ["c"],
    "import _beside": ["../scripts/_beside", "c"],
    "from _beside import job": ["../scripts/_beside", "c"],
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stable_regions"
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    for name, text in MODULES.items():
        write(folder, name, text)
    write(folder, "../scripts/_beside", "from stable_regions.c import x\n")
    says(folder, "import numpy\nfrom stable_regions.a import b")
    return folder


def write(package: Path, name: str, text: str) -> None:
    file = package / f"{name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def says(package: Path, text: str) -> None:
    write(package, "../scripts/script", f"{text}\n")


def digest(package: Path, *modules: str) -> str:
    return provenance.code_digest(package.parent / "scripts" / "script.py", *modules)


def edit(package: Path, name: str) -> None:
    file = package / f"{name}.py"
    file.write_text(file.read_text(encoding="utf-8") + "z = 2\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("statement", "module"), [(text, name) for text, names in IMPORTS.items() for name in names]
)
def test_a_change_in_reach_changes_the_digest(package: Path, statement: str, module: str) -> None:
    says(package, statement)
    before = digest(package)
    edit(package, module)
    assert digest(package) != before


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("from stable_regions.a import b", "unused"),
        ("from stable_regions.a import b", "kinds/__init__"),
        ("from stable_regions.kinds.line import measure", "kinds/plane/measure"),
        ("from stable_regions import c", "../scripts/_beside"),
        ("if TYPE_CHECKING:\n    from stable_regions import c", "c"),
    ],
)
def test_a_change_out_of_reach_does_not(package: Path, statement: str, module: str) -> None:
    says(package, statement)
    before = digest(package)
    edit(package, module)
    assert digest(package) == before


def test_what_runs_when_types_are_not_checked_is_followed(package: Path) -> None:
    says(package, "if TYPE_CHECKING:\n    x = 1\nelse:\n    from stable_regions.c import x")
    before = digest(package)
    edit(package, "c")
    assert digest(package) != before


def test_a_module_loaded_by_name_is_followed(package: Path) -> None:
    before = digest(package, "stable_regions.kinds.line.measure")
    assert before != digest(package, "stable_regions.kinds.plane.measure")
    edit(package, "kinds/line/tables")
    assert digest(package, "stable_regions.kinds.line.measure") != before


@pytest.fixture
def notes(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a process has noted of the modules that it read, for another in which `_read` fails."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    digest(package)
    provenance._notes.cache_clear()
    monkeypatch.setattr(provenance, "_read", None)
    [path] = (package / "__pycache__").glob("read.*.json")
    return path


def test_what_another_process_has_read_is_read_again_when_it_has_changed(
    package: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = digest(package)
    edit(package, "b")
    with pytest.raises(TypeError):
        digest(package)
    monkeypatch.undo()
    monkeypatch.setattr(provenance, "PACKAGE", package)
    assert digest(package) != noted


@pytest.mark.parametrize("change", ['"reader": "other"', "{"])
def test_notes_of_other_code_and_damaged_ones_are_not_read(
    package: Path, notes: Path, change: str
) -> None:
    notes.write_text(re.sub('"reader": ".*"', change, notes.read_text()))
    with pytest.raises(TypeError):
        digest(package)


def test_files_of_one_name_are_told_apart(package: Path) -> None:
    says(package, "from stable_regions.kinds import line, plane")
    write(package, "kinds/line/__init__", "x = 1\n")
    before = digest(package)
    write(package, "kinds/line/__init__", "")
    write(package, "kinds/plane/__init__", "x = 1\n")
    assert digest(package) != before


def test_the_digest_does_not_depend_on_where_the_checkout_lies(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(package)
    moved = package.parent.rename(package.parent.with_name("elsewhere")) / package.name
    monkeypatch.setattr(provenance, "PACKAGE", moved)
    assert digest(moved) == before


def test_words_about_the_code_do_not_count(package: Path) -> None:
    before = digest(package)
    write(package, "b", '"""Other."""\n# note\ndef f():\n    """Else."""\n    return 1\n')
    assert digest(package) == before
    write(package, "b", "def f():\n    return 2\n")
    assert digest(package) != before


def edited(name: str) -> Callable[..., str]:
    """`Path.read_text` as if a line had been added to the files of this name."""
    read = Path.read_text

    def read_edited(path: Path, *args: str, **kwargs: str) -> str:
        text = read(path, *args, **kwargs)
        return text + "x = 1\n" if path.name == name else text

    return read_edited


def test_what_is_loaded_by_name_is_a_parameter() -> None:
    """No `import_module` of a name that the digest cannot know."""
    arguments = {}
    for path in [*(ROOT / "stable_regions").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "__import__", "run_module", "spec_from_file_location")
            ):
                arguments[path.relative_to(ROOT).as_posix()] = ast.unparse(node.args[0])
    assert arguments.pop("stable_regions/audit/replay.py") == "name"  # of packages of others
    assert arguments.pop("stable_regions/__init__.py") == "_PLACES[name]"  # of the front door
    assert arguments.pop("stable_regions/base/forking.py") == "module"  # before a script does
    for package in ("experiments", "sources"):  # of no script that makes a file: below
        del arguments[f"stable_regions/{package}/kinds.py"]
    by_name = {"draw_figure", "fetch_model", "gather", "make_model", "make_tables", "measure"}
    assert arguments.keys() == {f"scripts/{script}.py" for script in by_name}
    assert {text.removeprefix("snakemake.") for text in arguments.values()} == {"params.module"}


def test_nothing_is_made_again_because_there_is_another_kind_of_experiment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a kind does is in its own modules, not in the list of all."""
    scripts = sorted((ROOT / "scripts").glob("[!_]*.py"))
    before = {path.name: provenance.code_digest(path) for path in scripts}
    monkeypatch.setattr(Path, "read_text", edited("kinds.py"))
    changed = {path.name for path in scripts if provenance.code_digest(path) != before[path.name]}
    # these are run when they are asked for, and nothing is made of what they make
    assert changed == {
        "check_gpu.py", "compare_reference.py", "make_deposit.py", "make_reference.py", "plan.py",
        "verify.py",
    }  # fmt: skip


def test_nothing_is_made_again_because_of_the_front_door(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = sorted((ROOT / "scripts").glob("[!_]*.py"))
    before = {path: provenance.code_digest(path) for path in scripts}
    for name in ("command.py", "loading.py", "results.py"):
        assert (ROOT / "stable_regions" / "front" / name).is_file()
        monkeypatch.setattr(Path, "read_text", edited(name))
        assert {path: provenance.code_digest(path) for path in scripts} == before
        monkeypatch.undo()


def test_how_a_model_is_loaded_counts_for_what_runs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = ROOT / "scripts"
    names = ["cache_activations.py", "measure.py", "make_tables.py"]
    before = [provenance.code_digest(scripts / name) for name in names]
    monkeypatch.setattr(Path, "read_text", edited("_models.py"))
    after = [provenance.code_digest(scripts / name) for name in names]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_a_record_is_of_the_same_code_only_if_it_says_so(tmp_path: Path) -> None:
    script = "scripts/make_tables.py"
    code = provenance.code_digest(ROOT / script)
    module = "stable_regions.sources.models.local"
    with_module = {"code": provenance.code_digest(ROOT / script, module), "module": module}
    elsewhere = tmp_path / "script.py"
    elsewhere.write_text("import numpy\n", encoding="utf-8")
    for job, same in (
        ({"script": script, "params": {"code": code}}, True),
        ({"script": script, "params": {}}, False),
        ({"script": script, "params": with_module}, True),
        ({"script": script, "params": with_module | {"code": code}}, False),
        ({"script": "scripts/gone.py", "params": {"code": code}}, False),
        ({"script": str(elsewhere), "params": {"code": code}}, False),
    ):
        assert same_code(job) == same


def test_a_recorded_path_is_of_the_study_or_else_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_recorded_path("Makefile") == ROOT / "Makefile"
    assert resolve_recorded_path(str(tmp_path / "gone")) == tmp_path / "gone"
    (tmp_path / "Makefile").touch()
    assert resolve_recorded_path("Makefile") == Path("Makefile")


def test_versions_are_those_installed() -> None:
    import numpy

    assert provenance.versions(["numpy"])["numpy"] == numpy.__version__


def test_what_was_read_for_one_digest_is_not_read_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripts = sorted((ROOT / "scripts").glob("[!_]*.py"))
    digests = [provenance.code_digest(script) for script in scripts]
    read, look = [], provenance._look

    def note(file: Path, notes: dict[str, Any]) -> dict[str, Any]:
        read.append(file)
        return look(file, notes)

    monkeypatch.setattr(provenance, "_look", note)
    seen: provenance.Seen = {}
    assert [provenance.code_digest(script, seen=seen) for script in scripts] == digests
    assert len(read) == len({*read}) > len(scripts)
