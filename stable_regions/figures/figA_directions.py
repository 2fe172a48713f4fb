"""Around an activation: how far each kind of direction leads before the output moves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from stable_regions.figures import style

TABLES = ("directions", "directions_curves")
SECTION = "appendix"
SHOWS = "directions around an activation"

NAMES = {
    "isotropic": "isotropic", "covariance": "of the covariance", "difference": "two other prompts",
    "principal": "principal", "contrastive": "two kinds of words",
}  # fmt: skip
BASES = {"real": "from a prompt's activation", "random": "from a random point"}
READ = "post_norm"
LENGTH = "relative length"


def draw(reaches: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """How far the output has moved by length, and the length at which it has moved a tenth.

    Parameters
    ----------
    reaches, curves
        The tables `directions` and `directions_curves`; the lowest write layer is drawn, read after
        the norm.
    """
    style.use()
    reaches, curves = (
        table[(table["layer"] == table["layer"].min()) & (table["distance"] == READ)]
        for table in (reaches, curves)
    )
    figure, axes = plt.subplots(
        1, 3, figsize=(style.FULL, 2.9), gridspec_kw={"width_ratios": [1, 1, 1.15]}
    )
    first = curves["model"].iloc[0]
    own = curves[(curves["model"] == first) & (curves["length"] > 0)]
    parts = []
    top = own["median"].max()
    for axis, letter, (base, title) in zip(axes, "ab", BASES.items(), strict=False):
        some = own[own["base"] == base]
        _curves(axis, some, top)
        style.panel(axis, letter, title)
        parts.append(some.assign(panel=letter))
    axes[0].set_ylabel("output moved, in usual distances")
    tenth = reaches[reaches["part"] == "tenth"]
    _lengths(axes[2], tenth)
    style.panel(axes[2], "c", "a tenth is reached")
    parts.append(tenth.assign(panel="c"))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=6.5
    )
    columns = ["panel", "model", "layer", "base", "direction", "part", "length", "bases"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high", "never"]
    return pd.concat(parts, ignore_index=True)[columns], figure


def logarithmic(axes: Axes) -> None:
    """A logarithmic axis of lengths, with plain numbers."""
    axes.set(xscale="log", xlabel=LENGTH)
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _curves(axes: Axes, curves: pd.DataFrame, top: float) -> None:
    for i, (direction, name) in enumerate(NAMES.items()):
        some = curves[curves["direction"] == direction]
        colour, dash, _ = style.look(i)
        axes.plot(some["length"], some["median"], color=colour, linestyle=dash, label=name)
    logarithmic(axes)
    axes.set_ylim(0, 1.08 * top)
    for level in (0.1, 0.5):
        axes.axhline(level, color="0.7", linewidth=0.6, zorder=0)


def _lengths(axes: Axes, reaches: pd.DataFrame) -> None:
    """Median, its interval and quartiles by direction: each model, each kind of base."""
    models = list(reaches["model"].unique())
    series = [(model, base) for model in models for base in BASES]
    for i, (model, base) in enumerate(series):
        some = reaches[(reaches["model"] == model) & (reaches["base"] == base)]
        some = some.set_index("direction").reindex(list(NAMES))
        place = np.arange(len(NAMES)) + 0.8 * ((i + 0.5) / len(series) - 0.5)
        colour, _, marker = style.look(models.index(model))
        axes.hlines(place, some["q25"], some["q75"], color=colour, linewidth=0.5)
        axes.hlines(place, some["ci_low"], some["ci_high"], color=colour, linewidth=1.6)
        axes.plot(
            some["median"], place, marker, color=colour, markersize=3.2, linestyle="none",
            markerfacecolor=colour if base == "real" else "white",
        )  # fmt: skip
    for i, model in enumerate(models):
        colour, _, marker = style.look(i)
        axes.plot([], [], marker, color=colour, markersize=3.2, label=style.plain(model))
    for base, face in (("real", "0.3"), ("random", "white")):
        axes.plot([], [], "o", color="0.3", markerfacecolor=face, markersize=3.2, label=BASES[base])
    axes.set_yticks(range(len(NAMES)), list(NAMES.values()), fontsize=6)
    axes.set_ylim(len(NAMES) - 0.5, -0.5)
    logarithmic(axes)
    axes.figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=6.5
    )
