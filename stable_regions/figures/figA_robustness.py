"""Robustness of the sharpness: the same pairs, with one analysis choice changed at a time."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stable_regions.figures import style
from stable_regions.figures.medians import spread_key
from stable_regions.measures.distances import DISTANCES

TABLES = ("robustness",)
SECTION = "appendix"
SHOWS = "one choice changed at a time"

CHOICES = {
    "default": "",
    "read_site": "read site",
    "distance": "distance",
    "steps": "steps",
    "path": "path",
    "target": "path to",
    "corpus": "corpus",
    "dtype": "precision",
}
VALUES = {
    "default": "default",
    "pre_norm": "before the norm",
    **{name: distance.label for name, distance in DISTANCES.items()},
    "interpolated_norm": "norm interpolated",
    "slerp": "spherical",
    "through_activations": "through activations",
    "covariance": "random point, same covariance",
    "isotropic": "random direction, same length",
}


def _bars(axes: Axes, rows: pd.DataFrame, y: np.ndarray, column: str, ends: list, i: int) -> None:
    colour, _, marker = style.look(i)
    for low, high, width in ends:
        axes.hlines(y, rows[low], rows[high], color=colour, linewidth=width)
    axes.plot(
        rows[column], y, linestyle="none", marker=marker, markersize=3.8, color=colour,
        markeredgecolor="white", markeredgewidth=0.4, label=rows["model"].iloc[0],
    )  # fmt: skip


def draw(effects: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Median max slope for each choice, and its difference from the default's.

    Parameters
    ----------
    effects
        The table `robustness`.
    """
    style.use()
    first = effects[effects["model"] == effects["model"].iloc[0]]
    # a row each, with a gap where the choice changes
    gaps = (first["choice"] != first["choice"].shift()).cumsum() - 1
    places = -(np.arange(len(first)) + 0.6 * gaps.to_numpy())
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(style.FULL, 0.9 + 0.16 * -places.min()), sharey=True
    )
    models = list(effects["model"].unique())
    for i, model in enumerate(models):
        rows = effects[effects["model"] == model]
        y = places + min(0.3, 0.9 / len(models)) * ((len(models) - 1) / 2 - i)
        bars = [("q25", "q75", 0.6), ("ci_low", "ci_high", 2.4)]
        _bars(left, rows, y, "median", bars, i)
        changed = (rows["choice"] != "default").to_numpy()
        _bars(right, rows[changed], y[changed], "change", [("change_low", "change_high", 2.4)], i)
        default = rows.loc[~changed, "median"].iloc[0]
        left.axvline(default, color=style.look(i)[0], linewidth=0.6, alpha=0.5, zorder=0)
    right.axvline(0, color="0.7", linewidth=0.6, zorder=0)
    names = [
        f"{CHOICES[choice]}: {VALUES.get(value, value)}".removeprefix(": ")
        for choice, value in zip(first["choice"], first["value"], strict=True)
    ]
    left.set_yticks(places, names)
    left.set_xscale("log")
    ticks = [t for t in (1, 2, 3, 5, 10, 20, 50) if t <= effects["q75"].max() * 1.1]
    left.set_xticks(ticks, [str(t) for t in ticks])
    left.minorticks_off()
    left.set(xlabel="max slope", ylim=(places.min() - 0.8, 0.8))
    right.set(xlabel="change of the median max slope")
    right.tick_params(axis="y", length=0)
    key = spread_key()
    lines = left.get_legend_handles_labels()[0] if len(models) > 1 else []
    figure.legend(
        handles=[*lines, *key],
        loc="outside lower center",
        ncols=min(5, len(lines) + len(key)),
        fontsize=7,
    )
    style.panel(left, "a", "max slope")
    style.panel(right, "b", "against the default")
    columns = ["model", "choice", "value", "pairs", "median", "q25", "q75", "ci_low", "ci_high"]
    columns += ["change", "change_low", "change_high", "paired"]
    return effects[columns], figure
