"""Write requirements.lock from what is installed, and envs/*.yaml from the lock.

    python tools/lock.py          both, from the packages of this interpreter
    python tools/lock.py envs     the environments alone, from the lock as it is

Each environment pins what its rules import and everything that these need, to the lock's versions.

uv resolves requirements.in to the same, but from PyPI it locks CUDA's libraries too, which a
machine without a GPU should not need: they can be left out by their names alone, and those change
with torch's versions. And conda's files would still be written here.
"""

import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
# What the rules of each kind import.
KINDS = {
    "model": [
        "torch", "transformer-lens", "transformers", "safetensors", "tokenizers", "gguf",
        "huggingface-hub", "datasets", "numpy", "pandas", "pyarrow", "pydantic", "jaxtyping",
        "pyyaml", "accelerate", "scipy",
    ],
    "clustering": [
        "hdbscan", "scikit-learn", "scipy", "numpy", "pandas", "pyarrow", "safetensors",
        "jaxtyping",
    ],
    "figures": [
        "seaborn", "matplotlib", "numpy", "pandas", "pyarrow", "jaxtyping", "safetensors",
        "pydantic", "pyyaml", "plotly", "tokenizers", "scipy",
    ],
    "paper": ["typst", "pandas", "pyarrow", "rocrate", "safetensors"],
}  # fmt: skip
# An audit does again what all the others do, and a plan does a little of it.
KINDS["audit"] = sorted({package for some in KINDS.values() for package in some})
SKIP = {"pip", "stable-regions"}  # pip is the environment's own
PYTHON = "3.11"  # of the environments
# Come with torch where its build is for a GPU, in versions that it names itself.
CUDA = re.compile(r"(nvidia|cuda)-|triton$")


def installed() -> dict[str, str]:
    """Name -> version of every package of this interpreter, without local build tags."""
    versions = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    return {
        name: version.partition("+")[0]
        for name, version in sorted(versions.items())
        if name not in SKIP and not CUDA.match(name)
    }


def read_lock() -> dict[str, str]:
    """Name -> version, as the lock has them."""
    return dict(
        re.findall(r"^([a-z0-9-]+)==(\S+)$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    )


def options() -> list[str]:
    """The lines of requirements.in that say how pip is to install."""
    return re.findall(
        r"^--.+$", (ROOT / "requirements.in").read_text(encoding="utf-8"), re.MULTILINE
    )


def closure(names: Iterable[str], python: str = PYTHON) -> list[str]:
    """The named packages and all that they need on this platform, without extras."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen or name in SKIP or CUDA.match(name):
            continue
        seen.add(name)
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate(
                {"extra": "", "python_version": python, "python_full_version": f"{python}.0"}
            ):
                todo.append(need.name)
    return sorted(seen)


def environment(kind: str, lock: dict[str, str]) -> str:
    """The text of `envs/<kind>.yaml`."""
    entries = [f'"{option}"' for option in options()]
    entries += [f"{name}=={lock[name]}" for name in closure(KINDS[kind])]
    lines = "".join(f"      - {each}\n" for each in entries)
    return (
        "# Made by `make lock` from requirements.lock: change that, not this.\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        f"dependencies:\n  - python={PYTHON}\n  - pip\n  - pip:\n{lines}"
    )


def main() -> None:
    if sys.argv[1:] != ["envs"]:
        pins = [f"{name}=={version}" for name, version in installed().items()]
        lines = ["# Made by `make lock` from requirements.in.", *options(), *pins]
        LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lock = read_lock()
    for kind in KINDS:
        (ROOT / "envs" / f"{kind}.yaml").write_text(environment(kind, lock), encoding="utf-8")


if __name__ == "__main__":
    main()
