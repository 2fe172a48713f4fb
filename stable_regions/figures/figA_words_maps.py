"""The words' map under three distances."""

import json

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures.clustering import draw_maps

TABLES = ("words_map",)
SECTION = "appendix"
SHOWS = "words under three distances"

SHOWN = ("input", "output", "barrier")


def draw(places: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Words of the first context at their places, in the colours of their clusters.

    Parameters
    ----------
    places
        The table `words_map`.
    """
    points = places[places["distance"].isin(SHOWN)]
    parts = {name: points[points["distance"] == name] for name in SHOWN}
    words = [json.loads(name) for name in parts["input"]["name"]]
    return points, draw_maps(
        {name: part[["x", "y"]].to_numpy() for name, part in parts.items()},
        {name: np.asarray(part["label"]) for name, part in parts.items()},
        words,
    )
