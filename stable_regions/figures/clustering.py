"""Drawing clusters: the ordered matrix, the condensed tree, maps of words, scores in a series.

Each function draws on axes that it is given; `draw_maps` puts several maps together.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from stable_regions.figures import style

NOISE = "0.6"
HALO = [withStroke(linewidth=1.5, foreground="white")]


def colour(label: int | np.integer) -> str:
    """Colour of a cluster, grey for noise; colours come round again, so numbers are written too."""
    return NOISE if label < 0 else style.COLOURS[label % len(style.COLOURS)]


def cluster_order(labels: NDArray, kinds: NDArray) -> NDArray:
    """Indices that put prompts in order of cluster, noise last, and of kind in each."""
    return np.lexsort((kinds, labels, labels < 0))


def cluster_names(labels: NDArray, kinds: NDArray) -> list[str]:
    """For each cluster its most common kind, and how many of its prompts are of it."""
    table = pd.crosstab(labels, kinds).query("index >= 0")
    return [f"{row.idxmax()} {row.max()}/{row.sum()}" for _, row in table.iterrows()]


def _runs(values: Sequence | NDArray) -> list[tuple[int, int]]:
    """Start and stop of each run of equal values."""
    edges = [i for i in range(len(values)) if i == 0 or values[i] != values[i - 1]]
    return list(zip(edges, [*edges[1:], len(values)], strict=True))


def draw_matrix(
    axes: Axes, distances: NDArray, labels: NDArray, kinds: NDArray, *, shortest_run: int = 4
) -> None:
    """Distances [n, n] in order of cluster: numbers above, kinds along the side.

    A kind is named where at least `shortest_run` of its prompts are together.
    """
    order = cluster_order(labels, kinds)
    labels, kinds = labels[order], kinds[order]
    image = axes.imshow(distances[np.ix_(order, order)], cmap="viridis_r", interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, shrink=0.6, label="distance")
    runs = [
        run
        for run in _runs(list(zip(labels, kinds, strict=True)))
        if run[1] - run[0] >= shortest_run
    ]
    axes.set_yticks(
        [(a + b - 1) / 2 for a, b in runs], [style.plain(kinds[a]) for a, _ in runs], fontsize=4.5
    )
    clusters = _runs(labels)
    names = ["noise" if labels[a] < 0 else str(labels[a]) for a, _ in clusters]
    axes.set_xticks([(a + b - 1) / 2 for a, b in clusters], names, fontsize=5)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for start, _ in clusters[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=0.5)
        axes.axvline(start - 0.5, color="white", linewidth=0.5)


def draw_tree(axes: Axes, tree: pd.DataFrame, labels: NDArray, kinds: NDArray) -> None:
    """The condensed tree as icicles: as wide as a node has prompts, from its birth to its death.

    The clusters chosen are in colour, with their number and their most common kind. `tree` is
    `stable_regions.measures.clusters.Clustering.tree`.
    """
    distance = 1 / tree["lambda_val"]
    names = cluster_names(labels, kinds)
    root = int(tree["parent"].min())
    todo = [(root, 0.0, len(labels), 1.05 * distance.max(), -1)]
    for node, left, size, born, label in todo:
        rows = tree["parent"] == node
        leaving = (
            tree[rows].assign(distance=distance[rows]).sort_values("lambda_val", kind="stable")
        )
        steps = leaving.groupby("distance", sort=False)["child_size"].sum()
        heights = [born, *steps.index]
        halves = (size - np.array([0, *steps.cumsum()])) / 2
        centre = left + size / 2
        axes.fill_betweenx(
            heights,
            centre - halves,
            centre + halves,
            step="post",
            facecolor=colour(label) if label >= 0 else "0.85",
            edgecolor="black",
            linewidth=0.3,
        )
        if label >= 0:
            axes.annotate(
                f"{label} {names[label]}",
                (centre, distance[tree["label"] == label].min()),
                (0, -3),
                textcoords="offset points",
                rotation=90,
                va="top",
                ha="center",
                fontsize=5,
                path_effects=HALO,
                parse_math=False,
            )
        inner = leaving[leaving["child_size"] > 1]
        left = centre - float(inner["child_size"].sum()) / 2
        columns = (inner[c].tolist() for c in ("child", "child_size", "distance", "label"))
        for child, width, height, name in zip(*columns, strict=True):
            todo.append((child, left, width, height, name))
            left += width
    low, high = distance.min(), 1.05 * distance.max()
    axes.set(xlim=(0, len(labels)), ylim=(low - 0.4 * (high - low), high), xticks=[])
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= high])
    axes.set(xlabel="prompts (width)", ylabel="mutual reachability distance")


def draw_map(
    axes: Axes, places: NDArray, labels: NDArray, words: Sequence[str] | NDArray, *, size: float = 4
) -> None:
    """Each word at its place [n, 2] of `classical_map`, in the colour of its cluster.

    Numbers of clusters are at the medians of their words; `size` is that of the words, in points.
    """
    axes.scatter(places[:, 0], places[:, 1], s=0)  # sets the limits
    for (x, y), label, word in zip(places, labels, words, strict=True):
        axes.text(
            x,
            y,
            word,
            color=colour(label),
            fontsize=size,
            ha="center",
            va="center",
            parse_math=False,
        )
    for label in np.unique(labels[labels >= 0]):
        x, y = np.median(places[labels == label], axis=0)
        axes.text(
            x,
            y,
            str(label),
            color=colour(label),
            fontsize=1.8 * size,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=HALO,
        )
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")


def draw_maps(
    places: Mapping[str, NDArray], labels: Mapping[str, NDArray], words: Sequence[str] | NDArray
) -> Figure:
    """Maps of the same words under several distances, two a row, by the distances' names."""
    style.use()
    rows = -(-len(places) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(style.FULL, rows * style.FULL / 2), squeeze=False)
    for axis in axes.flat[len(places) :]:
        axis.remove()
    for axis, letter, name in zip(axes.flat, "abcdef", places, strict=False):
        draw_map(axis, places[name], labels[name], words, size=5)
        style.panel(axis, letter, name)
    return figure


def draw_scores(axes: Axes, scores: pd.DataFrame, bands: pd.DataFrame, *, along: str) -> None:
    """Scores along layers or checkpoints, a line a distance with its intervals, and chance in grey.

    Parameters
    ----------
    scores : columns `along`, ``distance``, ``value``, ``low``, ``high``: one score.
    bands : the same for shuffled kinds; the band drawn holds the bands of all distances.
    along : column of the horizontal axis: numbers, or names in the order in which they come.
    """
    band = bands.groupby(along, sort=False).agg({"low": "min", "high": "max"})
    axes.fill_between(
        band.index, band["low"], band["high"], color="0.85", linewidth=0, label="shuffled kinds"
    )
    for i, (name, part) in enumerate(scores.groupby("distance", sort=False)):
        shade, dash, _ = style.look(i)
        axes.errorbar(
            part[along],
            part["value"],
            yerr=[part["value"] - part["low"], part["high"] - part["value"]],
            color=shade,
            linestyle=dash,
            marker="osDv^P*"[i % 7],
            markersize=3,
            elinewidth=0.6,
            label=name,
        )
    axes.set(xlabel=along)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
