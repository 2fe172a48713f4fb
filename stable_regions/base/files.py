"""Files that are written atomically and carry their metadata."""

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_regions.base.errors import UserError, first_line

# Each start of Snakemake reads this module: what is slow to load is loaded where it is needed.
if TYPE_CHECKING:
    import pandas as pd

METADATA_KEY = b"stable_regions"
SCRATCH = ".part"  # what the folder of a file being written ends in

# Columns of CSV tables that hold names, however much these look like numbers.
NAMES = (
    "model", "pair", "name", "family", "revision", "source", "licence", "norm", "series",
    "claim", "of", "deviation", "corpus",
)  # fmt: skip


def quoted(text: str) -> str:
    """A text for a table: in double quotes, its line breaks escaped.

    So leading spaces show, and no text (`None`, `nan`, an empty one) is read back from CSV as NaN.
    """
    return json.dumps(text, ensure_ascii=False)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it there only if the block ends well.

    Works for files and for folders. What was under the final name stays until the new is whole.
    What a process left here that was killed while it wrote the same is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftovers in path.parent.glob(f".{glob.escape(path.name)}.????????{SCRATCH}"):
        shutil.rmtree(leftovers, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=SCRATCH, dir=path.parent))
    target = scratch / path.name
    try:
        yield target
        _flush(target)
        if target.is_dir() and path.is_dir():
            os.replace(path, scratch / "old")
        os.replace(target, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _flush(path: Path) -> None:
    """Flush files to the disk, which may fail only then if it is full, with the umask's mode.

    Safetensors are written for the owner alone.
    """
    umask = os.umask(0)
    os.umask(umask)
    for file in [path, *path.rglob("*")]:
        if file.is_file() and not file.is_symlink():
            with suppress(OSError):  # a disk without modes, as FAT
                file.chmod(0o666 & ~umask)
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())


def link(file: Path, target: Path) -> None:
    """Make a link to a file, or a copy of it on a disk without links.

    A link to a file below its own folder moves with that.
    """
    folder = target.parent.resolve()
    try:
        target.symlink_to(os.path.relpath(file, folder) if file.is_relative_to(folder) else file)
    except OSError:
        shutil.copyfile(file, target)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys, two spaces deep. NaN is an error, as JSON has none."""
    with atomic(path) as target:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
        target.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; UserError if it is not there or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from None


def read_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; UserError if it holds anything else."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got a {type(value).__name__}")
    return value


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a tidy table; floats with nine significant digits, enough to give a float32 back."""
    with atomic(path) as target:
        table.to_csv(target, index=False, float_format="%.9g", lineterminator="\n")


def read_csv(path: str | Path) -> "pd.DataFrame":
    """Read a table that `write_csv` wrote: names are texts, and only an empty cell is missing.

    So a model may go by `NA`, `007` or `1e5`.
    """
    import pandas as pd

    return pd.read_csv(
        path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=[""],
        low_memory=False,
    )  # fmt: skip


def write_parquet(path: str | Path, table: "pd.DataFrame", metadata: Mapping[str, Any]) -> None:
    """Write a table with `metadata` (anything JSON can hold) in the file itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata(
        {**(arrow.schema.metadata or {}), METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    )
    with atomic(path) as target:
        pq.write_table(arrow, target, compression="zstd")


def read_parquet(path: str | Path) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """Read what `write_parquet` wrote: the table and its metadata."""
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path, partitioning=None)
        stored = (arrow.schema.metadata or {}).get(METADATA_KEY)
        table, metadata = arrow.to_pandas(), json.loads(stored or "null")
    except Exception as error:  # of a damaged file, whatever the reader stumbles on
        raise UserError(f"{path}: not a readable Parquet file ({first_line(error)})") from None
    if metadata is None:
        raise UserError(f"{path}: Parquet file without this project's metadata")
    return table, metadata


def write_safetensors(path: str | Path, tensors: Mapping[str, Any], metadata: Any) -> None:
    """Write torch tensors with `metadata` (anything JSON can hold) in the file itself."""
    from safetensors.torch import save_file

    with atomic(path) as target:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            target,
            metadata={METADATA_KEY.decode(): json.dumps(metadata, sort_keys=True)},
        )


def write_arrays(path: str | Path, arrays: Mapping[str, Any], metadata: Any) -> None:
    """The same for NumPy arrays; torch is not needed."""
    import numpy as np
    from safetensors.numpy import save_file

    with atomic(path) as target:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            target,
            metadata={METADATA_KEY.decode(): json.dumps(metadata, sort_keys=True)},
        )


def read_safetensors(path: str | Path, framework: str = "pt") -> tuple[dict[str, Any], Any]:
    """Read what `write_safetensors` wrote: the tensors (on the CPU) and the metadata.

    With the framework "numpy" they are arrays, and torch is not needed.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework=framework) as file:
            stored = (file.metadata() or {}).get(METADATA_KEY.decode())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = json.loads(stored or "null")
    except Exception as error:  # of a damaged file, whatever the reader stumbles on
        raise UserError(f"{path}: not a readable safetensors file ({first_line(error)})") from None
    if metadata is None:
        raise UserError(f"{path}: safetensors file without this project's metadata")
    return tensors, metadata


def read_header(path: str | Path) -> dict[str, tuple[str, list[int]]]:
    """Dtype, as safetensors name it, and shape of every tensor; no tensor is read.

    Raises
    ------
    UserError
        If the file is truncated, or is no safetensors file.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()}
    except Exception as error:  # of a damaged file, whatever the reader stumbles on
        with open(path, "rb") as raw:
            pickled = raw.read(2) in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05")
        reason = "it is a pickle, which is not read" if pickled else first_line(error)
        raise UserError(f"{path}: not a whole safetensors file ({reason})") from None
