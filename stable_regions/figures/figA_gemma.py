"""Gemma with and without a BOS token, beside random weights: curves along the path, max slopes."""

import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import figA_sharpness

TABLES = ("gemma_curves", "gemma_pairs")
SECTION = "appendix"
SHOWS = "Gemma with and without a BOS token"


def draw(curves: pd.DataFrame, pairs: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """As `figA_sharpness`, of Gemma's models."""
    return figA_sharpness.draw(curves, pairs)
