"""Prompts clustered by their output distances: the ordered matrix and the condensed tree."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style
from stable_regions.figures.clustering import draw_matrix, draw_tree

TABLES = ("clusters_entries", "clusters_map", "clusters_trees")
SECTION = "appendix"
SHOWS = "random prompts, clustered"


def draw(
    entries: pd.DataFrame,
    places: pd.DataFrame,
    trees: pd.DataFrame,
    *,
    distance: str = "output",
) -> tuple[pd.DataFrame, Figure]:
    """One distance between the prompts of the first context, of the first model and write layer.

    Parameters
    ----------
    entries, places, trees
        The tables `<experiment>_entries`, `_map` and `_trees`, which hold these alone.
    """
    style.use()
    drawn, prompts, tree = (some[some["distance"] == distance] for some in (entries, places, trees))
    matrix = np.zeros((len(prompts), len(prompts)))
    matrix[np.triu_indices(len(prompts), 1)] = drawn["value"]
    matrix += matrix.T
    clusters = prompts["label"].to_numpy()
    kinds = np.array([_shown(kind) for kind in prompts["kind"]])
    figure, axes = plt.subplots(
        1, 2, figsize=(style.FULL, 3.6), gridspec_kw={"width_ratios": [1, 0.9]}
    )
    draw_matrix(axes[0], matrix, clusters, kinds)
    draw_tree(axes[1], tree, clusters, kinds)
    style.panel(axes[0], "a", f"{distance} distance, by cluster")
    style.panel(axes[1], "b", "condensed tree")
    label = dict(enumerate(clusters))
    return drawn.assign(
        label_i=drawn["i"].map(label), label_j=drawn["j"].map(label),
        kind_i=[kinds[i] for i in drawn["i"]], kind_j=[kinds[j] for j in drawn["j"]],
    ), figure  # fmt: skip


def _shown(quoted: str) -> str:
    """A kind without its quotes, unless it begins or ends in white space."""
    kind = json.loads(quoted)
    return kind if kind == kind.strip() else quoted
