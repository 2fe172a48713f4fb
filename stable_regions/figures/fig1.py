"""Figure 1: the plane of three prompts at checkpoints of a training run."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import planes, style

TABLES = ("training-plane_points", "training-plane_triples")
SECTION = "as in the original"
SHOWS = "planes at several checkpoints"
ORIGINAL = "Figure 1"


def draw(points: pd.DataFrame, triples: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """The first triple's plane, a column a model: on a scale of its own, and on one for all.

    Parameters
    ----------
    points, triples
        The tables `training-plane_points` and `training-plane_triples`.
    """
    style.use()
    frames = planes.each(points[points["triple"] == points["triple"].iloc[0]])
    [common] = planes.common_scales(pd.concat(frames)).values()
    width = style.FULL / max(4, len(frames))
    figure, axes = plt.subplots(
        2, len(frames), figsize=(width * len(frames), 2 * width + 0.2), squeeze=False
    )
    parts = []
    for (own, shared), part in zip(axes.T, frames, strict=True):
        parts.append(planes.draw(own, part, triples).assign(scale="own"))
        parts.append(planes.draw(shared, part, triples, scale=common).assign(scale="common"))
        own.set_title(style.frame_title(part["model"].iloc[0]))
    axes[0, 0].set_ylabel("(a) own scale")
    axes[1, 0].set_ylabel("(b) common scale")
    return pd.concat(parts, ignore_index=True), figure
