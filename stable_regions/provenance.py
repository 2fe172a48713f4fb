"""What a result was made with: recorded in every raw file."""

import ast
import hashlib
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_regions.files import read_json

if TYPE_CHECKING:  # importing it would bring torch into jobs that need none
    from stable_regions.model import Model

PACKAGE = Path(__file__).parent


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the installed packages named."""
    found = {name: metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


def machine() -> dict[str, str]:
    """Processor and system: what may change the last bits of a float."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return {"processor": names[0] if names else platform.processor(), "system": platform.system()}


@cache
def _read(text: str) -> tuple[str, frozenset[str]]:
    """What a module does, as text, and the names of the modules that it may import.

    The text is its syntax tree without docstrings; comments are not in it. It is kept, since the
    scripts of a workflow reach the same modules.
    """
    tree = ast.parse(text)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant)
        ):
            node.body[0] = ast.Expr(ast.Constant(None))
    return ast.dump(tree), frozenset(names)


def _files(names: Iterable[str]) -> set[Path]:
    """Those of the named modules that are the package's own, as files."""
    inside = (n.split(".")[1:] for n in names if n.split(".")[0] == PACKAGE.name)
    files = (PACKAGE.joinpath(*parts).with_suffix(".py") for parts in inside if parts)
    return {file for file in files if file.exists()}


def code_digest(script: str | Path) -> str:
    """Digest of what a script does: itself and every module of this package that it reaches.

    Comments and docstrings do not count. A rule passes this as a parameter, so that Snakemake
    makes a result again when the code behind it changes, and only then.
    """
    seen: dict[Path, str] = {}
    todo = [Path(script)]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen[file], names = _read(file.read_text())
            todo.extend(_files(names))
    text = "\n".join(f"{file.name}\n{seen[file]}" for file in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def model_record(model: "Model", ref: str, compute: Mapping[str, Any]) -> dict[str, Any]:
    """The record that every raw output of a model carries: what made it, and on what.

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
    model: "Model", ref: str, params: Any, drawn: Mapping[str, Any]
) -> dict[str, Any]:
    """The same, and what was measured: the job's parameters, and the record of its prompts."""
    return {
        **model_record(model, ref, params.compute),
        "experiment": {"name": params.name, **params.entry},
        "prompts": drawn["prompts"],
    }
