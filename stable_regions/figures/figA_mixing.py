"""Pure and mixed directions: the exponent by which two directions add up."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from stable_regions.figures import style
from stable_regions.figures.figA_directions import NAMES
from stable_regions.measures.levels import radii

TABLES = ("mixing", "mixing_angles")
SECTION = "appendix"
SHOWS = "pure and mixed directions"

PARTS = {"tenth": "a tenth", "half": "a half"}
POWERS = (1.5, 2, 3, 6)


def draw(exponents: pd.DataFrame, angles: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """The length by angle over that of an ellipse, and the exponents.

    Parameters
    ----------
    exponents, angles
        The tables `mixing` and `mixing_angles`; the lowest write layer is drawn.
    """
    style.use()
    exponents, angles = (
        table[table["layer"] == table["layer"].min()] for table in (exponents, angles)
    )
    figure, axes = plt.subplots(
        1, 3, figsize=(style.FULL, 2.7), gridspec_kw={"width_ratios": [1, 1, 1.15]}
    )
    first = exponents["model"].iloc[0]
    parts = []
    for axis, letter, (part, title) in zip(axes, "ab", PARTS.items(), strict=False):
        some = angles[(angles["model"] == first) & (angles["part"] == part)]
        _angles(axis, some)
        style.panel(axis, letter, f"the output moved {title}")
        parts.append(some.assign(panel=letter))
    axes[0].set_ylabel("length over that of $p = 2$")
    low = min(axis.get_ylim()[0] for axis in axes[:2])
    high = max(axis.get_ylim()[1] for axis in axes[:2])
    for axis in axes[:2]:
        axis.set_ylim(low, high)
    _exponents(axes[2], exponents)
    style.panel(axes[2], "c", "exponent p")
    parts.append(exponents.assign(panel="c"))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    figure.legend(*axes[2].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    columns = ["panel", "model", "layer", "direction", "part", "angle", "bases"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high", "never", "bounded"]
    return pd.concat(parts, ignore_index=True)[columns], figure


def _angles(axes: Axes, angles: pd.DataFrame) -> None:
    grid = np.linspace(0, 90, 91)
    ellipse = radii(np.radians(grid), 1.0, 1.0, 2)
    for power in POWERS:
        ratio = radii(np.radians(grid), 1.0, 1.0, power) / ellipse
        axes.plot(grid, ratio, color="0.75", linewidth=0.7, zorder=0)
        axes.annotate(
            f"$p={power:g}$", (45, ratio[45]), fontsize=6, color="0.5", ha="center",
            va="bottom", xytext=(0, 1), textcoords="offset points",
        )  # fmt: skip
    for i, (direction, some) in enumerate(angles.groupby("direction", sort=False)):
        colour, dash, marker = style.look(i)
        axes.fill_between(
            some["angle"], some["ci_low"], some["ci_high"], color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(
            some["angle"], some["median"], color=colour, linestyle=dash, marker=marker,
            markersize=3, label=NAMES[str(direction)],
        )  # fmt: skip
    axes.set(xlabel="angle from one to the other", xticks=[0, 45, 90])


def _exponents(axes: Axes, exponents: pd.DataFrame) -> None:
    """Median, its interval and quartiles: by direction, each model, each part."""
    directions = list(exponents["direction"].unique())
    models = list(exponents["model"].unique())
    series = [(model, part) for model in models for part in PARTS]
    for i, (model, part) in enumerate(series):
        some = exponents[(exponents["model"] == model) & (exponents["part"] == part)]
        some = some.set_index("direction").reindex(directions)
        place = np.arange(len(directions)) + 0.7 * ((i + 0.5) / len(series) - 0.5)
        colour, _, marker = style.look(models.index(model))
        axes.hlines(place, some["q25"], some["q75"], color=colour, linewidth=0.5)
        axes.hlines(place, some["ci_low"], some["ci_high"], color=colour, linewidth=1.6)
        axes.plot(
            some["median"], place, marker, color=colour, markersize=3.2, linestyle="none",
            markerfacecolor=colour if part == "tenth" else "white",
        )  # fmt: skip
    for i, model in enumerate(models):
        colour, _, marker = style.look(i)
        axes.plot([], [], marker, color=colour, markersize=3.2, label=style.plain(model))
    for part, face in (("tenth", "0.3"), ("half", "white")):
        axes.plot([], [], "o", color="0.3", markerfacecolor=face, markersize=3.2, label=PARTS[part])
    axes.axvline(2, color="0.7", linewidth=0.7, zorder=0)
    axes.set_yticks(range(len(directions)), [NAMES[d] for d in directions], fontsize=6)
    axes.set_ylim(len(directions) - 0.5, -0.5)
    axes.set(xscale="log", xlabel="$p$")
    axes.set_xticks([1, 2, 4, 8])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
