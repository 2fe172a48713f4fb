"""Write requirements.lock from what is installed, and envs/*.yaml from the lock.

    python tools/lock.py          both, from the packages of this interpreter
    python tools/lock.py hashes   the lock with its versions as they are, and hashes from PyPI
    python tools/lock.py envs     the environments alone, from the lock as it is

Each environment pins what its rules import and everything that these need, to the lock's versions.
The lock has the SHA-256 of every wheel that fits, on Linux and macOS, and pip installs no other.

uv resolves requirements.in to the same, but from PyPI it locks CUDA's libraries too, which a
machine without a GPU should not need: they can be left out by their names alone, and those change
with torch's versions. And conda's files would still be written here.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from urllib.request import Request, urlopen

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

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
    "paper": ["typst", "pandas", "pyarrow", "rocrate", "safetensors", "pydantic", "pyyaml"],
}  # fmt: skip
# An audit does again what all the others do, and a plan does a little of it.
KINDS["audit"] = sorted({package for some in KINDS.values() for package in some})
SKIP = {"pip", "stable-regions"}  # pip is the environment's own
PYTHON = "3.11"  # of the environments
PYTHONS = (11, 12, 13)  # minor versions that `make` takes
PLATFORM = re.compile(r"any|(many)?linux.*_(x86_64|aarch64)|macosx_.*_(x86_64|arm64|universal2)")
INDEX = "https://pypi.org/simple"
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
    text = LOCK.read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def options() -> list[str]:
    """The lines of requirements.in that say how pip is to install."""
    return re.findall(
        r"^--.+$", (ROOT / "requirements.in").read_text(encoding="utf-8"), re.MULTILINE
    )


def fits(tag: Tag) -> bool:
    """Whether a wheel of this tag may be installed by one of `PYTHONS` on Linux or macOS."""
    kind, minor = re.match(r"([a-z]+)3?(\d*)", tag.interpreter).groups()  # type: ignore[union-attr]
    if kind == "py":
        python = tag.interpreter.startswith("py3") and int(minor or 0) <= max(PYTHONS)
    elif tag.abi == "abi3":
        python = kind == "cp" and int(minor) <= max(PYTHONS)
    else:
        python = kind == "cp" and int(minor) in PYTHONS and tag.abi == tag.interpreter
    return python and PLATFORM.fullmatch(tag.platform) is not None


def is_installable(file: str, version: str, *, source: bool) -> bool:
    """Whether a file of the index is of this version, and a wheel that fits, or the source."""
    try:
        if source:
            return str(parse_sdist_filename(file)[1]) == version
        _, found, _, tags = parse_wheel_filename(file)
    except (InvalidSdistFilename, InvalidWheelFilename):
        return False
    return str(found) == version and any(map(fits, tags))


def hashes(name: str, version: str) -> list[str]:
    """SHA-256 of all files that pip may take of a package, from PyPI, and of what it takes here.

    PyTorch has builds for the processor alone on an index of its own, under the same version.
    """
    sources = ",".join(re.findall(r"--no-binary=(\S+)", "\n".join(options()))).split(",")
    kinds = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urlopen(Request(f"{INDEX}/{name}/", headers=kinds), timeout=60) as answer:
        files = json.load(answer)["files"]
    found = {
        file["hashes"]["sha256"]
        for file in files
        if is_installable(file["filename"], version, source=name in sources)
    }
    if "+" in metadata.version(name):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run([*command, "--dest", folder, f"{name}=={version}"], check=True)
            found |= {sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}
    return sorted(found)


def write_lock(versions: dict[str, str]) -> None:
    """Write the lock of these versions."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(hashes, versions, versions.values()))
    if missing := [name for name, some in zip(versions, found, strict=True) if not some]:
        sys.exit(f"error: {INDEX} has no file that fits of {', '.join(missing)}")
    pins = [
        " \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in some)])
        for (name, version), some in zip(versions.items(), found, strict=True)
    ]
    lines = ["# Made by `make lock` from requirements.in.", *options(), *pins]
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


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
        write_lock(read_lock() if sys.argv[1:] == ["hashes"] else installed())
    lock = read_lock()
    for kind in KINDS:
        (ROOT / "envs" / f"{kind}.yaml").write_text(environment(kind, lock), encoding="utf-8")


if __name__ == "__main__":
    main()
