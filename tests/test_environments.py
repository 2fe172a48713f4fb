"""The conda environments pin the lock's versions, package by package."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from stable_regions.audit.records import PACKAGE_OF_MODULE
from tools import lock

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
LOCK = dict(
    re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
)
# The environment of each script, as the rules name both.
NAMED = {
    script: environment
    for rules in sorted((ROOT / "rules").glob("*.smk"))
    for environment, script in re.findall(
        r'\bconda:\s+"\.\./(envs/[\w-]+\.yaml)".*?\bscript:\s+"\.\./(scripts/\w+\.py)"',
        rules.read_text(),
        re.DOTALL,
    )
}


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pins_are_those_of_the_lock(path: Path) -> None:
    [pip] = [
        d["pip"]
        for d in yaml.safe_load(path.read_text())["dependencies"]
        if "pip" in d and d != "pip"
    ]
    pins = [line.partition("==")[::2] for line in pip if not line.startswith("--")]
    drifted = [name for name, version in pins if LOCK.get(name) != version]
    assert pins
    assert not drifted, "`python tools/lock.py envs` writes them anew"


def test_every_script_has_an_environment_and_every_environment_a_script() -> None:
    assert {f"scripts/{path.name}" for path in (ROOT / "scripts").glob("[!_]*.py")} == set(NAMED)
    assert {f"envs/{path.name}" for path in ENVIRONMENTS} == set(NAMED.values())


@pytest.mark.parametrize("script", NAMED)
def test_an_environment_has_what_its_scripts_import_first(script: str) -> None:
    """`_job` takes what is not the environment's off the path: what is imported before it."""
    tree = ast.parse((ROOT / script).read_text())
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    names += [a.name for node in tree.body if isinstance(node, ast.Import) for a in node.names]
    modules = {str(name).partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    packages = {PACKAGE_OF_MODULE.get(name, name) for name in modules}
    pins = (ROOT / NAMED[script]).read_text()
    lacking = [name for name in packages if f"- {name}==" not in pins]
    assert {"_job", "stable_regions"} <= set(lacking) <= {"_job", "_models", "stable_regions"}


def imported(path: Path) -> set[str]:
    """Modules that a file imports when it is itself imported: not those of functions and types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo.extend(node.orelse)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))
    return names


def reached(script: Path) -> set[str]:
    """Packages, not the standard library's, that a script and all it imports import at once."""
    packages: set[str] = set()
    seen: set[Path] = set()
    todo = [script]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported(path):
            parts = name.split(".")
            if parts[0] not in ("stable_regions", "_job", "_models"):
                packages.add(PACKAGE_OF_MODULE.get(parts[0], parts[0]))
                continue
            folder = script.parent if parts[0][0] == "_" else ROOT
            for end in range(1, len(parts) + 1):
                place = folder.joinpath(*parts[:end])
                todo += [p for p in (place.with_suffix(".py"), place / "__init__.py") if p.exists()]
    return packages - set(sys.stdlib_module_names)


@pytest.mark.parametrize("script", NAMED)
def test_an_environment_has_all_that_its_scripts_reach(script: str) -> None:
    """Through the library as well, of what is imported at once."""
    pins = (ROOT / NAMED[script]).read_text()
    names = {name.replace("_", "-") for name in reached(ROOT / script)}
    assert [name for name in sorted(names) if f"- {name}==" not in pins] == []


def test_the_lock_pins_what_is_installed_and_asked_for() -> None:
    lines = (ROOT / "requirements.in").read_text().splitlines()
    asked = [Requirement(line) for line in lines if line[0] not in "#-"]
    other = [each for each in asked if not each.specifier.contains(LOCK[each.name.lower()])]
    assert not other, "`make lock` resolves requirements.in anew"
    result = {name: metadata.version(name).partition("+")[0] for name in LOCK}
    assert result == LOCK, "`make setup` in a checkout without .venv installs the lock"
    assert LOCK["torch"] == "2.13.0"


@pytest.mark.parametrize("kind", ["clustering", "figures", "paper"])
def test_what_runs_no_model_has_no_torch(kind: str) -> None:
    assert "torch==" not in (ROOT / "envs" / f"{kind}.yaml").read_text()


@pytest.mark.process
def test_the_environments_are_what_the_lock_gives() -> None:
    """`tools/lock.py` would write the files as they are."""
    code = (
        "import sys; sys.path.insert(0, 'tools'); import lock; from pathlib import Path\n"
        "sys.exit([k for k in lock.KINDS if "
        "Path('envs', f'{k}.yaml').read_text() != lock.environment(k, lock.read_lock())] or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}: `python tools/lock.py envs` writes them anew"


def test_the_lock_has_the_hashes_of_all_that_fits() -> None:
    """Of each package; `make setup` has pip take nothing without one."""
    text = (ROOT / "requirements.lock").read_text()
    found = re.findall(r"^([a-z0-9-]+)==\S+((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.M)
    hashes = {name: some.split() for name, some in found}
    assert hashes.keys() == LOCK.keys()
    # wheels of two or more systems, and of three versions of Python
    assert len(hashes["numpy"]) > 3 * 2
    assert "--no-deps --require-hashes" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("numpy-2.4.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", True),
        ("numpy-2.4.1-cp313-cp313-macosx_11_0_arm64.whl", True),
        ("numpy-2.4.1-cp310-abi3-manylinux_2_28_aarch64.whl", True),
        ("numpy-2.4.1-py3-none-any.whl", True),
        ("numpy-2.4.1-py2.py3-none-any.whl", True),
        ("numpy-2.4.1-py3-none-macosx_10_9_universal2.whl", True),
        ("numpy-2.4.1-cp310-cp310-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.1-cp314-cp314-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.1-cp314-abi3-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.1-cp313-cp313t-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.1-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl", False),
        ("numpy-2.4.1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("numpy-2.4.1-cp311-cp311-win_amd64.whl", False),
        ("numpy-2.4.1-py2-none-any.whl", False),
        ("numpy-2.4.0-py3-none-any.whl", False),
        ("numpy-2.4.1.tar.gz", False),
        ("numpy-2.4.1.exe", False),
    ],
)
def test_which_wheels_are_in_the_lock(file: str, fits: bool) -> None:
    assert lock.is_installable(file, "2.4.1", source=False) == fits
    assert lock.is_installable(file, "2.4.1", source=True) == file.endswith(".tar.gz")


def test_nothing_is_compiled() -> None:
    """pip takes wheels alone, in every environment; two packages of pure Python have none."""
    texts = [path.read_text() for path in (ROOT / "requirements.lock", *ENVIRONMENTS)]
    assert all("--only-binary=:all:" in text for text in texts)
    excepted = {name for text in texts for name in re.findall(r"--no-binary=(\S+?)\W*\n", text)}
    assert excepted == {"connection-pool,transformers-stream-generator"}
