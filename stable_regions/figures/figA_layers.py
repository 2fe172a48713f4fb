"""Appendix E: the patch written after later layers."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stable_regions.figures import style
from stable_regions.figures.medians import draw_curves, draw_medians, spread_key, straight_line

TABLES = ("layers", "layers_curves")
SECTION = "appendix"
SHOWS = "a later write layer"
ORIGINAL = "appendix E"

SITES = {"post_norm": "read after the norm", "pre_norm": "read before the norm"}


def draw(sharpness: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Median relative distance by write layer for the first model; max slopes at both read sites.

    Parameters
    ----------
    sharpness, curves
        The tables `layers` and `layers_curves`.
    """
    style.use()
    figure, axes = plt.subplots(1, 3, figsize=(style.FULL, 2.4))
    first = sharpness["model"].iloc[0]
    part = curves[(curves["model"] == first) & (curves["read_site"] == "post_norm")]
    part = part.assign(line=part["layer"].astype(str), panel="a")
    draw_curves(axes[0], part, {line: line for line in part["line"].unique()}, "after layer")
    style.panel(axes[0], "a", first)
    parts = [part]
    for axis, letter, (site, title) in zip(axes[1:], "bc", SITES.items(), strict=True):
        for i, (model, rows) in enumerate(sharpness.groupby("model", sort=False)):
            rows = rows[rows["read_site"] == site]
            draw_medians(axis, rows, "layer", str(model), i)
            parts.append(rows.assign(panel=letter))
        straight_line(axis)
        axis.set_xlim(sharpness["layer"].min() - 1, sharpness["layer"].max() + 1)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlabel="write layer", ylabel="max slope")
        style.panel(axis, letter, title)
    lines = axes[1].get_legend_handles_labels()[0]
    axes[1].legend(handles=[*lines, *spread_key()], fontsize=6, loc="upper left", borderpad=0)
    top = 0.8 + (sharpness["q75"].max() - 0.8) * (1.15 + 0.09 * (len(lines) + 2))
    for axis in axes[1:]:
        axis.set_ylim(0.8, top)
    columns = ["panel", "model", "layer", "read_site", "pairs", "alpha"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high"]
    return pd.concat(parts, ignore_index=True)[columns], figure
