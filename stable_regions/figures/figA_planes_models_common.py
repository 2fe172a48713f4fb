"""Planes of models side by side, each triple on one scale for all models."""

import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import figA_planes_models

TABLES = ("planes_points", "planes_triples")
SECTION = "appendix"
SHOWS = "planes, trained against random weights, on a common scale"


def draw(points: pd.DataFrame, triples: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """As `figA_planes_models`, on a common scale."""
    return figA_planes_models.draw(points, triples, common=True)
