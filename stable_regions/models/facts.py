"""Facts about a model's architecture: the paper's Table 1."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from stable_regions.base.errors import UserError, first_line
from stable_regions.base.files import read_object

NORMS = {"layer": "LayerNorm", "rms": "RMSNorm", None: "none"}
# Checkpoints on the hub say in their revision's name how far training was: step1000-tokens4B.
CHECKPOINT = re.compile(r"step(\d+)-tokens(\d+)([KMBT]?)")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def model_facts(folder: Path) -> dict[str, Any]:
    """Parameters (tied weights once), layers, hidden size, vocabulary, norm, source, licence.

    They are the model's that transformers makes of the config, not the files': those may hold
    buffers, and copies of a tied weight.

    Raises
    ------
    UserError
        Of the config no model can be made.
    """
    from stable_regions.models import huggingface  # importing it takes seconds

    raw_config = huggingface.read_config(folder)
    try:
        model = huggingface.initialise(raw_config, device="meta")
    except Exception as error:  # whatever the code of its architecture stumbles on
        where = (folder / "config.json").resolve()  # of a linked one, the user's own file
        reason = first_line(error)
        raise UserError(f"{where}: no model can be made of it: {reason}") from error
    config = model.config.get_text_config()
    source = read_object(folder / "source.json")
    return {
        "family": source["family"],
        "parameters": huggingface.parameter_count(model),
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "vocabulary": model.get_output_embeddings().weight.shape[0],
        "norm": NORMS[huggingface.norm_kind(model)],
        "source": source["source"]["kind"],
        "licence": source["licence"],
    }


def training_state(source: dict[str, Any], revision: str) -> tuple[int | None, int | None]:
    """Updates done and tokens seen, from `source.json` or else the revision's name; None if unsaid.

    The name gives the tokens rounded, as whoever published the checkpoint did.
    """
    step_match = CHECKPOINT.fullmatch(revision)
    step, tokens = (
        (int(step_match[1]), int(step_match[2]) * UNITS[step_match[3]])
        if step_match
        else (None, None)
    )
    return source.get("step", step), source.get("tokens", tokens)


def model_row(ref: str, folder: Path) -> dict[str, Any]:
    """A model's row of the table of models.

    Returns
    -------
    `model` (as a study names it), what `model_facts` gives, `name` (the model without its
    revision), `revision`, `step` and `tokens` (of a checkpoint: updates done and tokens seen;
    None where unsaid).
    """
    source = read_object(folder / "source.json")
    name, _, revision = ref.partition("@")
    revision = unquote(revision) or source["source"].get("revision") or ""
    step, tokens = training_state(source, revision)
    facts = {"name": name, "revision": revision, "step": step, "tokens": tokens}
    return {"model": ref, **model_facts(folder), **facts}


def model_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The paper's Table 1: the rows that `model_row` gives, in their order."""
    return pd.DataFrame(rows).astype({"step": "Int64", "tokens": "Int64"})


def with_losses(models: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """The table of models with `held_out_loss`, in nats a token, of those trained here.

    Parameters
    ----------
    losses
        The table `training_losses`: `model` (a name without revision), `step`, `held_out_loss`.
    """
    measured = losses.dropna(subset=["held_out_loss"]).rename(columns={"model": "name"})
    columns = ["name", "step", "held_out_loss"]
    return models.merge(measured[columns], on=["name", "step"], how="left", validate="many_to_one")
