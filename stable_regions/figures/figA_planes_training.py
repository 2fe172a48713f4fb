"""More planes through training: a row of frames a triple."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import planes, style

TABLES = ("training-planes_points", "training-planes_triples")
SECTION = "appendix"
SHOWS = "more triples through training"
ORIGINAL = "appendix, planes"

GAP = 0.25  # between the two triples of a line, in widths of a frame


def draw(
    points: pd.DataFrame, triples: pd.DataFrame, *, common: bool = False
) -> tuple[pd.DataFrame, Figure]:
    """Each triple's planes, a column a model, two triples a line.

    Parameters
    ----------
    points, triples
        The tables `training-planes_points` and `training-planes_triples`.
    common
        Whether a triple has one scale for all its planes, or each plane its own.
    """
    style.use()
    models, numbers = list(points["model"].unique()), list(points["triple"].unique())
    lines = -(-len(numbers) // 2)
    width = style.FULL / (2 * len(models) + GAP)
    figure, axes = plt.subplots(
        lines,
        2 * len(models) + 1,
        figsize=(style.FULL, lines * width + 0.2),
        squeeze=False,
        width_ratios=[1] * len(models) + [GAP] + [1] * len(models),
    )
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    for axis in axes.flat:
        axis.set_axis_off()
    scales = planes.common_scales(points) if common else {}
    parts = []
    for part in planes.each(points):
        model, triple = part["model"].iloc[0], part["triple"].iloc[0]
        line, side = divmod(numbers.index(triple), 2)
        column = models.index(model)
        axis = axes[line, column + side * (len(models) + 1)]
        axis.set_axis_on()
        parts.append(planes.draw(axis, part, triples, scale=scales.get(triple), size=4))
        if column == 0:
            axis.set_ylabel(str(triple), rotation=0, ha="right", va="center", fontsize=7)
        if line == 0:
            axis.set_title(style.frame_title(model), fontsize=6)
    return pd.concat(parts, ignore_index=True), figure
