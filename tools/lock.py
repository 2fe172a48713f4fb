"""Write requirements.lock from what is installed, and envs/*.yaml from the lock.

    python tools/lock.py          both, from the packages of this interpreter
    python tools/lock.py envs     the environments alone, from the lock as it is

Each environment pins what its rules import and everything that these need, to the lock's versions.
"""

import re
import sys
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
        "pyyaml", "accelerate", "hdbscan", "scipy",
    ],
    "clustering": [
        "hdbscan", "scikit-learn", "scipy", "numpy", "pandas", "pyarrow", "safetensors",
        "jaxtyping",
    ],
    "figures": [
        "seaborn", "matplotlib", "numpy", "pandas", "pyarrow", "jaxtyping", "safetensors",
        "pydantic", "pyyaml",
    ],
    "paper": ["typst", "pandas", "pyarrow", "rocrate", "safetensors"],
    "explorer": [
        "plotly", "tokenizers", "seaborn", "matplotlib", "numpy", "pandas", "pyarrow",
        "safetensors", "jaxtyping",
    ],
}  # fmt: skip
# An audit does again what all the others do.
KINDS["audit"] = sorted({package for some in KINDS.values() for package in some})
# pip and what it brings are the environment's own
SKIP = {"pip", "setuptools", "wheel", "stable-regions"}


def installed() -> dict[str, str]:
    """Name -> version of every package of this interpreter, without local build tags."""
    found = {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()}
    return {n: v.partition("+")[0] for n, v in sorted(found.items()) if n not in SKIP}


def read_lock() -> dict[str, str]:
    """Name -> version, as the lock has them."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", LOCK.read_text(), re.MULTILINE))


def closure(names: list[str]) -> list[str]:
    """The named packages and all that they need on this platform, without extras."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name in seen or name in SKIP:
            continue
        seen.add(name)
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                todo.append(need.name)
    return sorted(seen)


def environment(kind: str, lock: dict[str, str]) -> str:
    """The text of `envs/<kind>.yaml`."""
    pins = "".join(f"      - {name}=={lock[name]}\n" for name in closure(KINDS[kind]))
    return (
        "# Made by `make lock` from requirements.lock: change that, not this.\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        f"dependencies:\n  - python=3.11\n  - pip\n  - pip:\n{pins}"
    )


def main() -> None:
    if sys.argv[1:] != ["envs"]:
        pins = "".join(f"{name}=={version}\n" for name, version in installed().items())
        LOCK.write_text(f"# Made by `make lock` from requirements.in.\n{pins}")
    lock = read_lock()
    for kind in KINDS:
        (ROOT / "envs" / f"{kind}.yaml").write_text(environment(kind, lock))


if __name__ == "__main__":
    main()
