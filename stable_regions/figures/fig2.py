"""Figure 2: single pairs. Similar prompts share a region, dissimilar ones are a jump apart."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style


def draw(paths: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Relative output distance of the similar (S) and dissimilar (D) pairs, and logit difference.

    Parameters
    ----------
    paths
        The table `examples_paths` of one model: pairs named S... and D....
    """
    style.use()
    first = paths.iloc[0]
    paths = paths[(paths["model"] == first["model"]) & (paths["layer"] == first["layer"])]
    similar = paths[paths["pair"].str.startswith("S")]
    dissimilar = paths[paths["pair"].str.startswith("D")]
    figure, axes = plt.subplots(1, 3, figsize=(style.FULL, 2.2), sharex=True)
    panels = [
        (similar, "relative_post_norm", "similar pairs", style.DISTANCE_LABEL),
        (dissimilar, "relative_post_norm", "dissimilar pairs", style.DISTANCE_LABEL),
        (
            dissimilar,
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
        axis.legend()
    axes[2].lines[-1].remove()
    axes[2].axline((0, 1), (1, 0), color="0.7", linewidth=0.6, zorder=0)
    columns = ["model", "pair", "alpha", "relative_post_norm", "normalised_logit_difference"]
    return pd.concat([similar, dissimilar])[columns], figure
