"""Predicted tokens over the planes of three prompts, beside the planes themselves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from stable_regions.figures import planes, style
from stable_regions.measures.conventions import NAMED

TABLES = ("planes_points", "planes_triples", "planes_tokens")
SECTION = "appendix"
SHOWS = "planes of predicted tokens"

OTHER = 0.9  # grey of the tokens without a colour
STRENGTH = 0.6  # of the colours, so that text on them can be read
HALO = [withStroke(linewidth=0.8, foreground="white")]


def draw(
    points: pd.DataFrame, triples: pd.DataFrame, tokens: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """A row a triple of the first model: its plane, and the top token in each prompt's context.

    The tokens that cover most of a row have a colour each, the others are grey.

    Parameters
    ----------
    points, triples, tokens
        The tables `planes_points`, `planes_triples` and `planes_tokens`.
    """
    style.use()
    model = points["model"].iloc[0]
    points = points[points["model"] == model]
    tokens = tokens[tokens["model"] == model]
    texts = dict(zip(tokens["token"], tokens["text"], strict=True))
    rows = planes.each(points)
    figure, axes = plt.subplots(
        len(rows), 4, figsize=(style.FULL, style.FULL / 4 * len(rows) + 0.2), squeeze=False
    )
    parts = []
    for line, part in zip(axes, rows, strict=True):
        planes.draw(line[0], part, triples)
        line[0].set_ylabel(f"triple {part['triple'].iloc[0]}")
        tops = planes.grids(part, "top_token")
        top_tokens, counts = np.unique(tops, return_counts=True)
        common = top_tokens[np.argsort(-counts, kind="stable")][: len(style.COLOURS) - 1]
        for panel, top in zip(line[1:], tops, strict=True):
            image = np.full((*top.shape, 3), OTHER)
            for token, colour in zip(common, style.COLOURS, strict=False):
                image[top == token] = 1 - STRENGTH * (1 - np.array(to_rgb(colour)))
            planes.show(panel, image, part, triples, size=5)
            places = [(x, y) for _, x, y in planes.marks(part, triples)]
            _name_regions(panel, top, np.unique(part["alpha"]), texts, places)
        parts.append(
            part[["model", "triple", "alpha", "beta", *(f"top_token_{c}" for c in planes.CORNERS)]]
        )
    titles = ["distances", *(f"tokens, context {c}" for c in "ABC")]
    for letter, panel, title in zip("abcd", axes[0], titles, strict=True):
        style.panel(panel, letter, title)
    return pd.concat(parts, ignore_index=True), figure


def _name_regions(
    axes: Axes, top: NDArray, axis: NDArray, texts: dict[int, str], marks: list
) -> None:
    """Draw the regions' borders, and each token once in the middle of where it is on top."""
    planes.borders(axes, top, axis)
    for token in np.unique(top):
        if (top == token).mean() >= NAMED:
            axes.text(
                *planes.middle(top == token, axis, marks),
                texts[token],
                fontsize=5.5,
                ha="center",
                va="center",
                path_effects=HALO,
                clip_on=True,
                parse_math=False,
            )
