"""Sharpness: a trained model against the same architecture with random weights."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from stable_regions.figures import style

TABLES = ("sharpness_curves", "sharpness_pairs")
SECTION = "appendix"
SHOWS = "trained against random weights"

INSIDE = 4  # models that a panel has room to name


def draw(curves: pd.DataFrame, pairs: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Median relative output distance with its quartile band, and the max slopes' distribution.

    Parameters
    ----------
    curves, pairs
        The tables `sharpness_curves` and `sharpness_pairs`.
    """
    style.use()
    layer = curves["layer"].iloc[0]
    curves = curves[(curves["read_site"] == "post_norm") & (curves["layer"] == layer)]
    pairs = pairs[(pairs["layer"] == layer) & pairs["max_slope_post_norm"].notna()]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.FULL, 2.4))
    edges = np.geomspace(1, max(1.01, pairs["max_slope_post_norm"].max()), 41)
    parts = []
    for i, (model, curve) in enumerate(curves.groupby("model", sort=False)):
        colour, dash, _ = style.look(i)
        left.plot(curve["alpha"], curve["median"], color=colour, linestyle=dash, label=model)
        left.fill_between(
            curve["alpha"], curve["q25"], curve["q75"], color=colour, alpha=0.2, linewidth=0
        )
        slopes = pairs.loc[pairs["model"] == model, "max_slope_post_norm"]
        sns.histplot(
            x=slopes, bins=edges, ax=right, element="step", color=colour, alpha=0.3,
            linestyle=dash, label=model,
        )  # fmt: skip
        count, _ = np.histogram(slopes, edges)
        parts.append(curve.assign(panel="a"))
        parts.append(
            pd.DataFrame(
                {"panel": "b", "model": model, "max_slope": edges[:-1], "bin_end": edges[1:],
                 "pairs": count}
            )
        )  # fmt: skip
    left.axline((0, 0), (1, 1), color="0.7", linewidth=0.6, zorder=0)
    left.set(xlabel=style.ALPHA_LABEL, ylabel=style.DISTANCE_LABEL)
    right.set(xlabel="max slope", ylabel="pairs", xscale="log")
    ticks = [t for t in (1, 2, 3, 5, 10, 20, 50) if t <= edges[-1]]
    right.set_xticks(ticks, [str(t) for t in ticks])
    right.minorticks_off()
    if len(curves["model"].unique()) <= INSIDE:
        left.legend()
        right.legend()
    else:
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=INSIDE, fontsize=6
        )
        figure.set_figheight(2.4 + 0.15 * len(left.get_legend_handles_labels()[1]) / INSIDE)
    style.panel(left, "a", "median and quartiles over pairs")
    style.panel(right, "b", "sharpness of single pairs")
    columns = ["panel", "model", "alpha", "median", "q25", "q75", "max_slope", "bin_end", "pairs"]
    return pd.concat(parts, ignore_index=True)[columns], figure
