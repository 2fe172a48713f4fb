"""Raw planes -> tidy tables: how a plane divides into regions, and how sharp their edges are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from stable_regions.base.files import quoted
from stable_regions.measures.paths import block_bootstrap, interval

READ_SITES = ("post_norm", "pre_norm")
CORNERS = "abc"
SUMMARISED = ["sharpness", "token_edge_ratio", "top_tokens", "largest_share"]
Raw = Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, Any]]]


def gradient(
    field: Float[np.ndarray, "*plane b a"], along: float, across: float
) -> Float[np.ndarray, "*plane b-1 a-1"]:
    """Length of a field's gradient in each cell of the grid, from the differences of its corners.

    Parameters
    ----------
    along, across
        Distance between neighbours in the directions of a and of b.
    """
    field = np.asarray(field, dtype=np.float64)
    a, b = np.diff(field, axis=-1) / along, np.diff(field, axis=-2) / across
    return np.hypot((a[..., 1:, :] + a[..., :-1, :]) / 2, (b[..., :, 1:] + b[..., :, :-1]) / 2)


def sharpness(slope: Float[np.ndarray, "*plane b a"]) -> Float[np.ndarray, "*plane"]:
    """Largest over mean gradient of a field: the max slope's counterpart on a plane.

    1 for a cone, as which the output distance rises if the output keeps the plane's shape. NaN
    for a field that is constant, or on three points that span no plane.
    """
    mean, largest = slope.mean((-2, -1)), slope.max((-2, -1))
    usable = np.isfinite(mean) & (mean > 0)
    return np.divide(largest, mean, out=np.full_like(mean, np.nan), where=usable)


def token_edges(top: Int[np.ndarray, "*plane b a"]) -> Bool[np.ndarray, "*plane b-1 a-1"]:
    """Cells of the grid whose four corners don't share one top token."""
    first = top[..., :-1, :-1]
    others = (top[..., 1:, :-1], top[..., :-1, 1:], top[..., 1:, 1:])
    return np.any([corner != first for corner in others], axis=0)


def edge_ratio(slope: Float[np.ndarray, "b a"], edges: Bool[np.ndarray, "b a"]) -> float:
    """Mean gradient in the cells where the top token changes, over that in the others.

    NaN if one of the two kinds of cells is missing, or the others have no gradient.
    """
    if edges.all() or not edges.any() or not slope[~edges].mean() > 0:
        return float("nan")
    return float(slope[edges].mean() / slope[~edges].mean())


def nearest_shares(distance: Float[np.ndarray, "3 b a"]) -> Float[np.ndarray, "3"]:
    """Share of the plane's points where each prompt's output is nearer to its own clean one."""
    return np.bincount(distance.argmin(0).ravel(), minlength=3) / distance[0].size


def triples(raw: Raw) -> pd.DataFrame:
    """One row a model, write layer, triple and read site.

    `share_a`, `share_b`, `share_c`: share of the plane's points where that prompt, as the
    context, is the nearest to its own clean output. `sharpness` and `token_edge_ratio`: median
    over the three contexts; `top_tokens`: distinct top tokens, the same median. `place_c`: C lies
    at a = `place_c`, b = 1. Texts are quoted.
    """
    rows = []
    for tensors, meta in raw:
        step = float(tensors["axis"][1] - tensors["axis"][0])
        tops = tensors["top_token"]
        edges = token_edges(tops)
        for at, layer in enumerate(meta["experiment"]["layers"]):
            for triple, texts in enumerate(meta["texts"]):
                lengths = {
                    name: float(tensors[name][at, triple])
                    for name in ("place_c", "length_along", "length_across")
                }
                counts = [len(np.unique(top)) for top in tops[at, triple]]
                for site in READ_SITES:
                    distance = tensors[f"distance_{site}"][at, triple]
                    with np.errstate(divide="ignore", invalid="ignore"):
                        slope = gradient(
                            distance,
                            step * lengths["length_along"],
                            step * lengths["length_across"],
                        )
                    ratios = map(edge_ratio, slope, edges[at, triple])
                    shares = nearest_shares(distance)
                    rows.append(
                        {
                            "model": meta["model"],
                            "layer": layer,
                            "triple": triple,
                            "read_site": site,
                            **{f"share_{c}": s for c, s in zip(CORNERS, shares, strict=True)},
                            "largest_share": shares.max(),
                            "sharpness": np.median(sharpness(slope)),
                            "token_edge_ratio": _median(np.array(list(ratios))),
                            "top_tokens": np.median(counts),
                            **lengths,
                            **{f"text_{c}": quoted(t) for c, t in zip(CORNERS, texts, strict=True)},
                        }
                    )
    return pd.DataFrame(rows)


def _median(values: Float[np.ndarray, " n"]) -> float:
    """Median of the values that are numbers; NaN if none is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def summary(table: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Over the triples of each model, layer and read site: median, quartiles, 95 % interval.

    The triples share no prompt, so the bootstrap draws them one by one. `undefined` counts the
    triples that have no such number.

    Parameters
    ----------
    table
        As made by `triples`.

    Returns
    -------
    One row a measure: `sharpness`, `token_edge_ratio`, `top_tokens`, `largest_share`.
    """
    rows = []
    for key, part in table.groupby(["model", "layer", "read_site"], sort=False):
        for measure in SUMMARISED:
            values = part[measure].to_numpy(dtype=np.float64)
            finite = values[np.isfinite(values)]
            numbers = [float("nan")] * 5
            if len(finite):
                medians = block_bootstrap(finite, block=1, resamples=resamples, seed=seed)
                numbers = [*np.quantile(finite, [0.5, 0.25, 0.75]), *interval(medians)]
            names = ["median", "q25", "q75", "ci_low", "ci_high"]
            rows.append(
                {
                    **dict(zip(["model", "layer", "read_site"], key, strict=True)),
                    "measure": measure,
                    "triples": len(finite),
                    **dict(zip(names, numbers, strict=True)),
                    "undefined": len(values) - len(finite),
                }
            )
    return pd.DataFrame(rows)


def points(raw: Raw) -> pd.DataFrame:
    """Every point of every plane at the first write layer, read after the norm: what is drawn.

    `distance_a` and `top_token_a` are in the context of prompt A, and so on.
    """
    parts = []
    for tensors, meta in raw:
        axis = tensors["axis"]
        beta, alpha = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
        for triple in range(len(meta["texts"])):
            columns = {"model": meta["model"], "triple": triple, "alpha": alpha, "beta": beta}
            for what, name in (("distance_post_norm", "distance"), ("top_token", "top_token")):
                for corner, field in zip(CORNERS, tensors[what][0, triple], strict=True):
                    columns[f"{name}_{corner}"] = field.ravel()
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def token_texts(raw: Raw) -> pd.DataFrame:
    """The text (quoted) of every token that is a top token somewhere, model by model."""
    rows = [
        (meta["model"], int(token), quoted(text))
        for _, meta in raw
        for token, text in meta["token_texts"].items()
    ]
    return pd.DataFrame(rows, columns=["model", "token", "text"])


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """A summary, one row a triple, every point, and the texts of the top tokens."""
    by_triple = triples(raw)
    return {
        "": summary(by_triple, resamples=resamples, seed=seed),
        "triples": by_triple,
        "points": points(raw),
        "tokens": token_texts(raw),
    }
