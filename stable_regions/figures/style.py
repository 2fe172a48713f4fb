"""The style of every plot: widths, palette and type sizes, with reproducible bytes."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stable_regions.base.files import atomic, write_csv

COLUMN, FULL = 3.3, 6.9  # widths in inches: one column of the paper, and both
# Okabe and Ito's colours (readable for the colour-blind), in an order of falling lightness
# contrast; lines also differ in dash, so that they can be told apart in grey.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = [
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    "-",
    "--",
]
MARKERS = "osD^vP*"
ALPHA_LABEL = r"$\alpha$ along the path"
DISTANCE_LABEL = "relative output distance"


THEME: dict[str, Any] = {
    "context": "paper",
    "style": "ticks",
    "palette": COLOURS,
    "rc": {
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.3,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
        "savefig.dpi": 300,
    },
}


def use() -> None:
    """Set the style; every figure's module calls it before it draws."""
    mpl.use("Agg")
    sns.set_theme(**THEME)


def look(index: int) -> tuple[str, Any, str]:
    """Colour, dash and marker of the series with this index.

    After the last colour they come round again, each time with other dashes and markers.
    """
    place, turn = index % len(COLOURS), index // len(COLOURS)
    other = (place + turn) % len(COLOURS)
    return COLOURS[place], DASHES[other], MARKERS[other]


def plain(text: str) -> str:
    """Escape a text from outside, such as a word or a family: its dollars are no mathematics."""
    return text.replace("$", r"\$")


def shades(count: int) -> list[tuple[float, float, float]]:
    """Colours for an ordered series (training, size, depth), light to dark."""
    return sns.color_palette("viridis_r", count + 1)[1:]


def panel(axes: Axes, letter: str, title: str) -> None:
    """Head a panel: `(a) title`, on the left."""
    axes.set_title(f"({letter}) {plain(title)}", loc="left")


def frame_title(ref: str) -> str:
    """A model as the title of one frame of a series: `model@step400` -> `step 400`.

    A revision's name may go on after the step (`step400-tokens1B`); a revision that names no step
    stands as it is, and a model without revision by its name.
    """
    model, _, revision = ref.partition("@")
    step = re.match(r"step(\d+)(?![0-9A-Za-z])", revision)
    return f"step {int(step[1]):,}" if step else unquote(revision) or model


def save(figure: Figure, data: pd.DataFrame, csv: str, pdf: str, png: str) -> None:
    """Write the drawn data as CSV, and the figure as PDF and PNG without dates."""
    write_csv(csv, data)
    for path, metadata in ((pdf, {"CreationDate": None}), (png, {"Software": None})):
        with atomic(path) as target:
            figure.savefig(target, format=Path(path).suffix[1:], metadata=metadata)
    plt.close(figure)
