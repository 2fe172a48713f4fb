"""Raw outputs as files: a table in Parquet, or arrays in Safetensors, with what made them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stable_regions.base.files import (
    read_parquet,
    read_safetensors,
    write_arrays,
    write_parquet,
    write_safetensors,
)

# A raw output: a table, or arrays by name; and the record of what made it.
Data = pd.DataFrame | Mapping[str, Any]
Raw = tuple[Any, dict[str, Any]]


def read_raw(path: str | Path) -> Raw:
    """Read a raw output; torch is not needed."""
    if Path(path).suffix == ".parquet":
        return read_parquet(path)
    return read_safetensors(path, framework="numpy")


def write_raw(path: str | Path, data: Data, facts: Mapping[str, Any]) -> None:
    """Write a raw output: a table, or arrays of NumPy's or of PyTorch's."""
    if isinstance(data, pd.DataFrame):
        write_parquet(path, data, facts)
    elif all(isinstance(array, np.ndarray) for array in data.values()):
        write_arrays(path, data, facts)
    else:
        write_safetensors(path, data, facts)
