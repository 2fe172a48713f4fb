"""What a model is, read from its folder without loading it: the paper's Table 1."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stable_regions.files import read_json
from stable_regions.shapes import LAYERS, WIDTH, first_of

LAYER_NORMS = ("gpt2", "gpt_neox", "phi", "olmo")
# Checkpoints on the hub say in their revision's name how far training was: step1000-tokens4B.
CHECKPOINT = re.compile(r"step(\d+)-tokens(\d+)([KMBT]?)")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


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
        "layers": first_of(config, LAYERS, where),
        "hidden_size": first_of(config, WIDTH, where),
        "vocabulary": int(config["vocab_size"]),
        "norm": "LayerNorm" if config["model_type"] in LAYER_NORMS else "RMSNorm",
        "source": source["source"]["kind"],
        "licence": source["licence"],
    }


def training_state(source: dict[str, Any], revision: str) -> tuple[int | None, int | None]:
    """Updates done and tokens seen, from `source.json` or else the revision's name; None if unsaid.

    The name gives the tokens rounded, as whoever published the checkpoint did.
    """
    named = CHECKPOINT.fullmatch(revision)
    step, tokens = (int(named[1]), int(named[2]) * UNITS[named[3]]) if named else (None, None)
    return source.get("step", step), source.get("tokens", tokens)


def model_row(ref: str, folder: Path) -> dict[str, Any]:
    """A model's row of the table of models.

    Returns
    -------
    `model` (as a study names it), what `model_facts` gives, `name` (the model without its
    revision), `revision`, `step` and `tokens` (of a checkpoint: updates done and tokens seen;
    None where unsaid).
    """
    source = read_json(folder / "source.json")
    name, _, revision = ref.partition("@")
    revision = revision or source["source"].get("revision") or ""
    step, tokens = training_state(source, revision)
    facts = {"name": name, "revision": revision, "step": step, "tokens": tokens}
    return {"model": ref, **model_facts(folder), **facts}


def model_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The paper's Table 1: the rows that `model_row` gives, in their order."""
    return pd.DataFrame(rows).astype({"step": "Int64", "tokens": "Int64"})
