"""The twin of a model: its architecture and tokenizer with fresh random weights."""

import shutil
from pathlib import Path

import torch

from stable_regions.models import huggingface


def randomise(folder: Path, target: Path, seed: int) -> None:
    """Make the twin of a model: the same config and tokenizer, freshly initialised weights."""
    torch.manual_seed(seed)
    huggingface.initialise(huggingface.read_config(folder)).save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
