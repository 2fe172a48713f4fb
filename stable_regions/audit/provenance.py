"""Provenance of a result, as recorded in every raw file."""

import ast
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_regions.base.files import read_json, write_json

if TYPE_CHECKING:  # importing it would bring torch into jobs that need none
    from stable_regions.models.model import Model

PACKAGE = Path(__file__).parent.parent
TYPES_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")  # a block that never runs
# Of a file, imported by a script in a folder: its place and a digest, and what it imports.
Seen = dict[tuple[Path, Path], tuple[str, set[Path]]]


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the installed packages named."""
    by_package = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **by_package}


def machine() -> dict[str, str]:
    """Processor and system, which may change the last bits of a float."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text(encoding="utf-8").splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return {"processor": names[0] if names else platform.processor(), "system": platform.system()}


def _read(text: str) -> tuple[str, list[tuple[int, str]]]:
    """A module's code as text, and its imports: level (dots before the name) and name.

    The text is its syntax tree without docstrings; comments are not in it.
    """
    tree = ast.parse(text)
    imports: set[tuple[int, str]] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in TYPES_ONLY:
            todo.extend(node.orelse)
            continue
        todo.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            imports.update((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = f"{node.module}." if node.module else ""
            imports.update((node.level, inside + alias.name) for alias in node.names)
        elif (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
        ):
            node.body[0] = ast.Expr(ast.Constant(None))
    return ast.dump(tree), sorted(imports)


@cache
def _notes(path: Path) -> dict[str, Any]:
    """What other processes have read and noted, by the same code as this."""
    reader = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        notes = {}
    return notes if notes.get("reader") == reader else {"reader": reader}


def _look(file: Path, notes: dict[str, Any]) -> dict[str, Any]:
    """What a file does, as a digest, and what it may import: as noted if its text is the same."""
    text = file.read_text(encoding="utf-8")
    of = hashlib.sha256(text.encode()).hexdigest()
    if str(file) not in notes or notes[str(file)]["of"] != of:
        does, imports = _read(text)
        digest = hashlib.sha256(does.encode()).hexdigest()
        notes[str(file)] = {"of": of, "does": digest, "imports": imports}
    return notes[str(file)]


@cache
def _executed(folder: Path, name: str) -> tuple[Path, ...]:
    """The files that are executed when a module in a folder, or a name in one, is imported.

    With the module that is `__init__.py` of every package on the way. `*` may import any module of
    its package.
    """
    return tuple(_on_the_way(folder, name))


def _on_the_way(folder: Path, name: str) -> Iterator[Path]:
    inside = str(folder)  # most of thousands of names are of other packages: no path is made of one
    for part in name.split("."):
        if part == "*":
            yield from Path(inside).glob("*.py")
            yield from Path(inside).glob("*/__init__.py")
        if os.path.isfile(file := f"{inside}/{part}.py"):
            yield Path(file)
        inside = f"{inside}/{part}"
        if not os.path.isdir(inside):
            return
        if os.path.isfile(file := f"{inside}/__init__.py"):
            yield Path(file)


def code_digest(script: str | Path, *modules: str, seen: Seen | None = None) -> str:
    """Digest of a script's code: itself and every module of this checkout that it imports.

    A rule passes this as a parameter, so that Snakemake makes a result again when the code behind
    it changes, and only then. Comments and docstrings do not count.

    Parameters
    ----------
    script
        It may import modules that lie beside it, and those of this package.
    modules
        What it loads by name: no statement in it says which module that is.
    seen
        What has been read for other digests of the same code, to which is added.
    """
    script, root = Path(script).resolve(), PACKAGE.resolve().parent
    seen = {} if seen is None else seen
    # To read all takes a second. What Python keeps of a module, by its version, lies here too.
    path = PACKAGE / "__pycache__" / f"read.{sys.implementation.cache_tag}.json"
    notes = _notes(path)
    noted = dict(notes)

    def look(file: Path) -> tuple[str, set[Path]]:
        note = _look(file, notes)
        imported = {
            each
            for level, name in note["imports"]
            for folder in ([file.parents[level - 1]] if level else [script.parent, root])
            for each in _executed(folder, name)
        }
        # by its place in the checkout, though a manifest may name a script that lies elsewhere
        return f"{Path(os.path.relpath(file, root)).as_posix()}\n{note['does']}", imported

    texts: dict[Path, str] = {}
    todo = {script, *(file for module in modules for file in _executed(root, module))}
    while todo:
        file = todo.pop()
        if (file, script.parent) not in seen:
            seen[file, script.parent] = look(file)
        texts[file], imported = seen[file, script.parent]
        todo |= imported - texts.keys()
    if notes != noted and not sys.dont_write_bytecode:
        with suppress(OSError):  # a checkout that may not be written to
            write_json(path, notes)
    return hashlib.sha256("\n".join(sorted(texts.values())).encode()).hexdigest()[:16]


def model_record(model: "Model", ref: str, compute: Mapping[str, Any]) -> dict[str, Any]:
    """The record in every raw output of a model: code, machine, versions and settings.

    There is no time and no host name in it: two clean runs give the same bytes.
    """
    source = read_json(model.folder / "source.json")
    return {
        "model": ref,
        "revision": source.get("revision"),
        "commit": source.get("commit"),
        "parameters": model.n_parameters,
        "source": source["source"],
        "files": source["files"],
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "engine": model.engine,
        "compute": dict(compute),
        "versions": versions(("torch", "transformers", "transformer-lens", "numpy")),
        "machine": machine(),
    }


def experiment_record(
    model: "Model", ref: str, params: Any, prompt_facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The same, with the experiment: the job's parameters, and the record of its prompts."""
    return {
        **model_record(model, ref, params.compute),
        "experiment": {"name": params.name, **params.entry},
        "prompts": prompt_facts["prompts"],
    }
