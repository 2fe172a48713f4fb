"""Planes as pictures: three output distances become the channels red, green and blue."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

CORNERS = "abc"
CLEARANCE = 0.15  # between a region's name and the marks, in units of a and b
HALO = [withStroke(linewidth=1.5, foreground="white")]


def grids(points: pd.DataFrame, prefix: str) -> np.ndarray:
    """One plane's columns `<prefix>_a`, `_b`, `_c` as an array `[3, b, a]`."""
    return np.stack(
        [points.pivot(index="beta", columns="alpha", values=f"{prefix}_{c}") for c in CORNERS]
    )


def each(points: pd.DataFrame) -> list[pd.DataFrame]:
    """The points of each plane of a table, in the table's order."""
    return [part for _, part in points.groupby(["model", "triple"], sort=False)]


def colours(
    distance: Float[np.ndarray, "3 b a"], scale: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "b a 3"]:
    """`1 - d / scale`: bright where a context's output is near its own clean one (Figure 1).

    A field whose scale is 0 is the same everywhere, and bright everywhere.
    """
    scale = scale[:, None, None]
    share = np.divide(distance, scale, out=np.zeros_like(distance), where=scale > 0)
    return np.moveaxis(1 - share.clip(0, 1), 0, -1)


def own_scale(distance: Float[np.ndarray, "3 b a"]) -> Float[np.ndarray, "3"]:
    """The maximum of each of the three fields."""
    return distance.max((-2, -1))


def common_scales(points: pd.DataFrame) -> dict[int, Float[np.ndarray, "3"]]:
    """For each triple, the maximum of each of the three fields over all its planes."""
    scales: dict[int, np.ndarray] = {}
    for part in each(points):
        own = own_scale(grids(part, "distance"))
        triple = int(part["triple"].iloc[0])
        scales[triple] = np.maximum(scales.get(triple, own), own)
    return scales


def marks(part: pd.DataFrame, triples: pd.DataFrame) -> list[tuple[str, float, float]]:
    """A, B and C with their places in a plane; `triples` is the table that says where C is."""
    model, triple = part["model"].iloc[0], part["triple"].iloc[0]
    rows = triples[(triples["model"] == model) & (triples["triple"] == triple)]
    return [("A", 0, 0), ("B", 1, 0), ("C", float(rows["place_c"].iloc[0]), 1)]


def show(
    axes: Axes, image: np.ndarray, part: pd.DataFrame, triples: pd.DataFrame, *, size: float
) -> None:
    """Draw an image `[b, a, 3]` over a plane, a pixel a point, and mark A, B and C.

    `size` is that of the letters, in points. A mark outside the plane is not drawn.
    """
    axis = np.unique(part["alpha"])
    half = (axis[1] - axis[0]) / 2
    limits = (axis[0] - half, axis[-1] + half)
    axes.imshow(image, origin="lower", extent=(*limits, *limits), interpolation="nearest")
    for letter, x, y in marks(part, triples):
        axes.plot(
            x,
            y,
            "o",
            color="black",
            markersize=size / 3,
            markeredgecolor="white",
            markeredgewidth=size / 14,
        )
        axes.annotate(
            letter,
            (x, y),
            (0, size / 4),
            textcoords="offset points",
            fontsize=size,
            ha="center",
            va="bottom",
            fontweight="bold",
            path_effects=HALO,
            annotation_clip=True,
        )
    axes.set(xlim=limits, ylim=limits, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw(
    axes: Axes,
    part: pd.DataFrame,
    triples: pd.DataFrame,
    *,
    scale: Float[np.ndarray, "3"] | None = None,
    size: float = 7,
) -> pd.DataFrame:
    """Draw one plane's distances, by default on its own scale; give its points and their colours.

    Parameters
    ----------
    part, triples
        The plane's points, and the table that says where C is.
    scale
        The distance that is dark, for each of the contexts.
    """
    distance = grids(part, "distance")
    image = colours(distance, own_scale(distance) if scale is None else scale)
    show(axes, image, part, triples, size=size)
    columns = {name: image[..., i].ravel() for i, name in enumerate(("red", "green", "blue"))}
    # the points come as a runs within b, which is how the image runs
    return part[["model", "triple", "alpha", "beta"]].assign(**columns)


def borders(axes: Axes, labels: Int[np.ndarray, "b a"], axis: Float[np.ndarray, " n"]) -> None:
    """Draw a line between any two neighbouring points of a plane that differ in their label."""
    half = (axis[1] - axis[0]) / 2
    across = [
        [(axis[j] + half, axis[i] - half), (axis[j] + half, axis[i] + half)]
        for i, j in np.argwhere(labels[:, 1:] != labels[:, :-1])
    ]
    along = [
        [(axis[j] - half, axis[i] + half), (axis[j] + half, axis[i] + half)]
        for i, j in np.argwhere(labels[1:] != labels[:-1])
    ]
    axes.add_collection(LineCollection(across + along, colors="black", linewidths=0.3))


def middle(
    mask: Bool[np.ndarray, "b a"], axis: Float[np.ndarray, " n"], avoid: list[tuple[float, float]]
) -> tuple[float, float]:
    """Place (a, b) for a region's name: its point nearest to the median of its points.

    Points close to one of those to avoid are taken only if the region has no others.
    """
    inside = axis[np.argwhere(mask)[:, ::-1]]
    distance = np.abs(inside - np.median(inside, axis=0)).sum(1)
    to_avoided = np.abs(inside[:, None] - np.array(avoid)).max(-1).min(1)
    a, b = inside[np.lexsort((distance, to_avoided < CLEARANCE))[0]]
    return float(a), float(b)
