"""Shared parts of figures of medians: curves along the path, and points with their spread."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from stable_regions.figures import style

FACTS = ["model", "name", "family", "layers", "hidden_size", "tokens"]


def short(number: float | np.integer) -> str:
    """A count in at most three digits: `0`, `102 k`, `3.28 M`, `4 B`."""
    for size, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"


def with_facts(table: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The rows read after the norm at the first write layer, with the facts of their models."""
    chosen = (table["read_site"] == "post_norm") & (table["layer"] == table["layer"].min())
    return table[chosen].merge(models[FACTS], on="model", how="left", validate="many_to_one")


def draw_curves(axes: Axes, curves: pd.DataFrame, labels: dict[str, str], title: str) -> None:
    """Median relative output distance of an ordered series: a line a label, light to dark.

    `labels` names the models, or whatever else is in the column `line`, in the order of the series.
    """
    for i, (line, colour) in enumerate(zip(labels, style.shades(len(labels)), strict=True)):
        part = curves[curves["line"] == line]
        dash = style.DASHES[i % 5]
        axes.plot(part["alpha"], part["median"], color=colour, linestyle=dash, label=labels[line])
    axes.axline((0, 0), (1, 1), color="0.7", linewidth=0.6, zorder=0)
    axes.set(xlabel=style.ALPHA_LABEL, ylabel=style.DISTANCE_LABEL, ylim=(-0.03, 1.08))
    columns = 1 + (len(labels) > 6)
    axes.legend(
        title=title, title_fontsize=6, fontsize=6, loc="upper left", bbox_to_anchor=(-0.02, 1.02),
        ncols=columns, handlelength=1.8, columnspacing=0.8, labelspacing=0.25, borderpad=0,
    )  # fmt: skip


def draw_medians(
    axes: Axes, table: pd.DataFrame, along: str, label: str, index: int, *, joined: bool = True
) -> None:
    """Median max slope along a column: quartiles as thin bars, the median's interval as thick ones.

    Parameters
    ----------
    table
        Columns `along`, `median`, `q25`, `q75`, `ci_low`, `ci_high`.
    index
        Which series it is: its colour, dash and marker, and how far it stands aside of the others.
    joined
        Whether a line goes through the points.
    """
    assert axes.figure is not None
    aside = ScaledTranslation(1.6 * index / 72, 0, axes.figure.dpi_scale_trans)
    place = axes.transData + aside
    colour, dash, marker = style.look(index)
    for low, high, width in (("q25", "q75", 0.6), ("ci_low", "ci_high", 2.2)):
        axes.vlines(
            table[along], table[low], table[high], color=colour, linewidth=width, transform=place
        )
    axes.plot(
        table[along],
        table["median"],
        color=colour,
        linestyle=dash if joined else "none",
        linewidth=1,
        marker=marker,
        markersize=3,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=style.plain(label),
        transform=place,
    )


def straight_line(axes: Axes) -> None:
    """Mark a max slope of 1, that of a straight line."""
    axes.axhline(1, color="0.7", linewidth=0.6, zorder=0)


def spread_key() -> list[Line2D]:
    """Legend entries for the two kinds of bars."""
    return [
        Line2D([], [], color="0.3", linewidth=0.6, label="quartiles of the pairs"),
        Line2D([], [], color="0.3", linewidth=2.2, label="95 % interval of the median"),
    ]
