"""What a model is, read from its folder without loading it: the paper's Table 1."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stable_regions.errors import UserError
from stable_regions.files import read_json

# One fact has other names in the configs of GPT-2's time.
LAYERS = ("num_hidden_layers", "n_layer")
WIDTH = ("hidden_size", "n_embd")
LAYER_NORMS = ("gpt2", "gpt_neox", "phi", "olmo")


def _first(config: dict[str, Any], names: Sequence[str], where: Path) -> int:
    for name in names:
        if name in config:
            return int(config[name])
    raise UserError(f"{where}: has none of {', '.join(names)}")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Name and shape of each tensor in a safetensors file, from its header alone."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def model_facts(folder: Path) -> dict[str, Any]:
    """Parameters (tied weights once), layers, hidden size, vocabulary, norm, source, licence."""
    where = folder / "config.json"
    config = read_json(where)
    config = config.get("text_config", config)
    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= tensor_shapes(path)
    source = read_json(folder / "source.json")
    return {
        "family": source["family"],
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "layers": _first(config, LAYERS, where),
        "hidden_size": _first(config, WIDTH, where),
        "vocabulary": int(config["vocab_size"]),
        "norm": "LayerNorm" if config["model_type"] in LAYER_NORMS else "RMSNorm",
        "source": source["source"]["kind"],
        "licence": source["licence"],
    }


def model_table(folders: dict[str, Path]) -> pd.DataFrame:
    """One row a model, in the order given."""
    return pd.DataFrame([{"model": name, **model_facts(path)} for name, path in folders.items()])
