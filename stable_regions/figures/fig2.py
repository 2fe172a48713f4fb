"""Figure 2: single pairs. Similar prompts share a region, dissimilar ones are a jump apart."""

from collections.abc import Collection

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style

TABLES = ("examples_paths",)
SECTION = "as in the original"
SHOWS = "single pairs, and their logit difference"
ORIGINAL = "Figure 2"


def draw(paths: pd.DataFrame, similar: Collection[str]) -> tuple[pd.DataFrame, Figure]:
    """Relative output distance of the similar and dissimilar pairs, and logit difference.

    Parameters
    ----------
    paths
        The table `examples_paths`; its first model and write layer are drawn.
    similar
        Names of the pairs that are similar; the others are dissimilar.
    """
    style.use()
    first = paths.iloc[0]
    paths = paths[(paths["model"] == first["model"]) & (paths["layer"] == first["layer"])]
    alike, unlike = paths[paths["pair"].isin(similar)], paths[~paths["pair"].isin(similar)]
    figure, axes = plt.subplots(1, 3, figsize=(style.FULL, 2.2), sharex=True)
    panels = [
        (alike, "relative_post_norm", "similar pairs", style.DISTANCE_LABEL),
        (unlike, "relative_post_norm", "dissimilar pairs", style.DISTANCE_LABEL),
        (
            unlike,
            "normalised_logit_difference",
            "predictions of the dissimilar",
            "normalised logit difference",
        ),
    ]
    for axis, letter, (part, column, title, label) in zip(axes, "abc", panels, strict=True):
        for i, (name, pair) in enumerate(part.groupby("pair")):
            colour, dash, _ = style.look(i)
            axis.plot(
                pair["alpha"],
                pair[column],
                color=colour,
                linestyle=dash,
                label=name,
            )
        axis.axline((0, 0), (1, 1), color="0.7", linewidth=0.6, zorder=0)
        axis.set(xlabel=style.ALPHA_LABEL, ylabel=label)
        style.panel(axis, letter, title)
        if len(part):
            axis.legend(ncols=1 + (part["pair"].nunique() > 6), fontsize=7)
    axes[2].lines[-1].remove()
    axes[2].axline((0, 1), (1, 0), color="0.7", linewidth=0.6, zorder=0)
    columns = ["model", "pair", "alpha", "relative_post_norm", "normalised_logit_difference"]
    return pd.concat([alike, unlike])[columns], figure
