"""Planes of models side by side: trained, and the same architecture with random weights."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import planes, style

TABLES = ("planes_points", "planes_triples")
SECTION = "appendix"
SHOWS = "planes, trained against random weights"

ACROSS = 4


def draw(
    points: pd.DataFrame, triples: pd.DataFrame, *, common: bool = False
) -> tuple[pd.DataFrame, Figure]:
    """Each triple on one model beside the next, four planes a row.

    Parameters
    ----------
    points, triples
        The tables `planes_points` and `planes_triples`.
    common
        Whether a triple has one scale for all its planes, or each plane its own.
    """
    style.use()
    models, numbers = list(points["model"].unique()), list(points["triple"].unique())
    places = [(triple, model) for triple in numbers for model in models]
    rows = -(-len(places) // ACROSS)
    width = style.FULL / ACROSS
    figure, axes = plt.subplots(rows, ACROSS, figsize=(style.FULL, 1.1 * width * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    scales = planes.common_scales(points) if common else {}
    parts = []
    for part in planes.each(points):
        model, triple = part["model"].iloc[0], part["triple"].iloc[0]
        axis = axes.flat[places.index((triple, model))]
        parts.append(planes.draw(axis, part, triples, scale=scales.get(triple)))
        axis.set_title(f"{style.frame_title(model)}, {triple}")
    return pd.concat(parts, ignore_index=True), figure
