"""Planes of models side by side: trained, and the same architecture with random weights."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import planes, style


def draw(
    points: pd.DataFrame, triples: pd.DataFrame, *, common: bool = False
) -> tuple[pd.DataFrame, Figure]:
    """A row a model, a column a triple.

    Parameters
    ----------
    points, triples
        The tables `planes_points` and `planes_triples`.
    common
        Whether a triple has one scale for all its planes, or each plane its own.
    """
    style.use()
    models, numbers = list(points["model"].unique()), list(points["triple"].unique())
    width = style.FULL / max(3, len(numbers))
    figure, axes = plt.subplots(
        len(models),
        len(numbers),
        figsize=(width * len(numbers), width * len(models)),
        squeeze=False,
    )
    scales = planes.common_scales(points) if common else {}
    drawn = []
    for part in planes.each(points):
        model, triple = part["model"].iloc[0], part["triple"].iloc[0]
        row, column = models.index(model), numbers.index(triple)
        drawn.append(planes.draw(axes[row, column], part, triples, scale=scales.get(triple)))
        axes[row, 0].set_ylabel(style.frame_title(model))
        axes[0, column].set_title(f"triple {triple}")
    return pd.concat(drawn, ignore_index=True), figure
