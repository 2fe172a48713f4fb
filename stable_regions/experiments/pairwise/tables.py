"""Clusters of prompts under each distance, and their scores: raw matrices -> tidy tables.

All distances are taken after the final norm. Unless noted otherwise, a value is the mean over
the contexts that the same words stand in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr

from stable_regions.base.errors import UserError
from stable_regions.base.files import quoted
from stable_regions.base.progress import Progress
from stable_regions.measures import clusters as clustering
from stable_regions.measures.paths import PATH_MEASURES, path_measures

SITE = "post_norm"
NEIGHBOURS = 5
SWAPS, SHUFFLES = 10_000, 1_000  # of the permutation tests: cheap, and small p-values need many
# Scores that are compared between distances: those that are sums over prompts.
COMPARED = {"neighbours": clustering.share_of_counts, "ari": clustering.rand_of_counts}
Matrices = dict[tuple[int, str], Float[np.ndarray, "context n n"]]


@dataclass(frozen=True)
class Prompts:
    """The prompts of one context, in order, with their labels.

    Attributes
    ----------
    names : [n] a word, or a text where the prompts are whole texts.
    labels : name -> [context, n].
    confounders : name -> [n], a value a prompt.
    """

    names: list[str]
    labels: dict[str, np.ndarray]
    confounders: dict[str, np.ndarray]

    @classmethod
    def of(cls, table: pd.DataFrame, top: np.ndarray, labels: Sequence[str]) -> "Prompts":
        """From a prompt table and the top next token of each prompt."""
        table = table.assign(top_token=top)
        contexts = table["context"].nunique() if "context" in table else 1
        first = table.iloc[: len(table) // contexts]
        words = "word" in table
        confounders = {}
        if words:
            confounders = {
                "frequency": first["log_frequency"].to_numpy(),
                "token id": np.array([ids[-1] for ids in first["tokens"]]),
            }
        return cls(
            names=list(first["word" if words else "text"]),
            labels={name: table[name].to_numpy().reshape(contexts, -1) for name in labels},
            confounders=confounders,
        )


def matrices(raw: Mapping[str, np.ndarray], layers: Sequence[int]) -> Matrices:
    """Every distance between the prompts, by write layer and name.

    Those of `measures.DISTANCES`: `input` is that between the activations that the paths join,
    `output` d(1) both ways, the others are measures of the path. And `layer N`, between the
    activations of clean runs after a later layer; these are given with the first write layer.

    Raises
    ------
    UserError
        A path with no max slope, since its ends give one output.
    """
    by_place: Matrices = {}
    for index, layer in enumerate(layers):
        by_place[layer, "input"] = np.stack([clustering.symmetrise(m) for m in raw["input"][index]])
        directed = raw[f"directed_{SITE}"][index]
        by_place[layer, "output"] = np.stack([clustering.symmetrise(m) for m in directed])
        measures = path_measures(
            raw[f"distance_{SITE}"][index].astype(np.float64),
            raw[f"step_{SITE}"][index].astype(np.float64),
        )
        for name, value in measures.items():
            if np.isnan(value).any():
                raise UserError(
                    f"pairwise distances: {int(np.isnan(value).sum())} pairs of prompts give one "
                    "output at both ends and have no max slope; leave one of each such pair out"
                )
            by_place[layer, name.replace("_", " ")] = np.stack([squareform(v) for v in value])
    later = sorted(int(name.partition(".")[2]) for name in raw if name.startswith("geometry."))
    for number in later:
        symmetric = [clustering.symmetrise(m) for m in raw[f"geometry.{number}"]]
        by_place[layers[0], f"layer {number}"] = np.stack(symmetric)
    return by_place


def clusters(
    matrices: Matrices, prompts: Prompts, *, min_cluster_size: int, min_samples: int
) -> dict[str, pd.DataFrame]:
    """HDBSCAN on every distance in every context.

    Returns
    -------
    `labels`: a row a prompt; `trees`: an edge of a condensed tree; `persistence`: a cluster. All
    with `layer`, `distance`, `context` before the columns of `clustering.Clustering`.
    """
    labels, trees, persistence = [], [], []
    for (layer, distance), value in matrices.items():
        for context, matrix in enumerate(value):
            where = {"layer": layer, "distance": distance, "context": context}
            matrix = clustering.check_distances(
                matrix, name=f"{distance} at layer {layer}", prompts=prompts.names
            )
            result = clustering.cluster(
                matrix, min_cluster_size=min_cluster_size, min_samples=min_samples,
                name=f"{distance} at layer {layer}",
            )  # fmt: skip
            labels.append(
                pd.DataFrame(
                    where | {"prompt": range(len(matrix)), "name": prompts.names,
                             "label": result.labels, "probability": result.probabilities}
                )
            )  # fmt: skip
            trees.append(_with_place(result.tree, where))
            persistence.append(
                pd.DataFrame(
                    where | {"label": range(len(result.persistence)),
                             "prompts": np.bincount(result.labels[result.labels >= 0],
                                                    minlength=len(result.persistence)),
                             "persistence": result.persistence}
                )
            )  # fmt: skip
    return {
        "labels": pd.concat(labels, ignore_index=True),
        "trees": pd.concat(trees, ignore_index=True),
        "persistence": pd.concat(persistence, ignore_index=True),
    }


def partitions(labels: pd.DataFrame) -> dict[tuple[int, str], np.ndarray]:
    """The clusters of `clusters` by layer and distance: `[context, n]`."""
    grouped: Any = labels.groupby(["layer", "distance"], sort=False)
    return {
        key: some.pivot(index="context", columns="prompt", values="label").to_numpy()
        for key, some in grouped
    }


def scores(
    matrices: Matrices, labels: pd.DataFrame, prompts: Prompts, *, draws: int, seed: int
) -> pd.DataFrame:
    """How well each distance separates the labels of each kind, by clusters and neighbours.

    Returns
    -------
    One row a `layer`, `distance`, `labels` and `score` (those of `partition_scores`, and
    `neighbours`: the share of a prompt's five nearest that have its label): `prompts`, `contexts`,
    `value`, 95 % interval over prompts and contexts, and of shuffled labels the mean, `chance`,
    their 95 % band and the one-sided p-value.
    """
    clusters_of = partitions(labels)
    first = next(iter(prompts.labels.values()))[0]
    rows = []
    progress = Progress("scores", len(matrices) * len(prompts.labels), "clusterings")
    for key, value in matrices.items():
        contexts, n = value.shape[:2]
        near = _neighbours(value)
        for name, kinds in prompts.labels.items():
            view = _View(near, clusters_of[key], kinds)
            table = clustering.score_intervals(
                view.scores, first, contexts=contexts, draws=draws, seed=seed
            ).rename(columns={"low": "ci_low", "high": "ci_high"})
            chance = clustering.shuffled_band(
                view.shuffled, np.arange(n), draws=draws, seed=seed
            ).rename(columns={"value": "chance", "low": "chance_low", "high": "chance_high"})
            where = {"layer": key[0], "distance": key[1], "labels": name}
            where |= {"prompts": n, "contexts": contexts}
            rows.append(_with_place(table.merge(chance, on="score"), where))
            progress.advance(1)
    return pd.concat(rows, ignore_index=True)


def _neighbours(matrices: np.ndarray) -> np.ndarray:
    """[context, n, n] what `clustering.neighbours` gives."""
    return np.stack([clustering.neighbours(matrix, k=NEIGHBOURS) for matrix in matrices])


class _View:
    """One distance, its clusters and one kind of label: the data of a score."""

    def __init__(self, near: np.ndarray, clusters: np.ndarray, labels: np.ndarray) -> None:
        self.near, self.clusters = near, clusters
        # numbers are told apart faster than names
        self.labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        self.shares = np.stack(list(map(clustering.neighbour_shares, near, self.labels)))

    def scores(self, prompts: np.ndarray, context: int) -> dict[str, float]:
        """Scores of some prompts in one context; neighbours may be any prompt."""
        return clustering.partition_scores(
            self.clusters[context][prompts], self.labels[context][prompts]
        ) | {"neighbours": float(self.shares[context][prompts].mean())}

    def counts(self, score: str) -> np.ndarray:
        """What `clustering.swap_test` swaps for a score: [context, n, ...]."""
        if score == "neighbours":
            return clustering.share_counts(self.shares)
        counted = zip(self.clusters, self.labels, strict=True)
        return np.stack([clustering.rand_counts(clusters, kinds) for clusters, kinds in counted])

    def shuffled(self, order: np.ndarray) -> dict[str, float]:
        """Scores of all prompts with permuted labels, mean over contexts."""
        view = _View(self.near, self.clusters, self.labels[:, order])
        each = [view.scores(np.arange(len(order)), c) for c in range(len(self.labels))]
        return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def _with_place(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The table with leading columns for where its rows are from."""
    return pd.concat([pd.DataFrame(dict(where), index=table.index), table], axis=1)


def comparisons(
    matrices: Matrices,
    labels: pd.DataFrame,
    prompts: Prompts,
    *,
    against: Sequence[str] = ("input", "output"),
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Does one distance score higher than another, beyond chance? See `clustering.swap_test`.

    Returns
    -------
    One row a `layer`, `distance`, distance `against`, `labels` and `score`: `difference`, its 95 %
    interval over prompts and contexts, both scores taken on the same, and the two-sided `p`. Labels
    that change with the context are left out: they have no units to swap.
    """
    clusters_of = partitions(labels)
    rows = []
    lasting = {name: k for name, k in prompts.labels.items() if (k == k[0]).all()}
    progress = Progress("comparisons", len(matrices) * len(lasting), "clusterings")
    near = {key: _neighbours(value) for key, value in matrices.items()}
    for name, kinds in lasting.items():
        views = {key: _View(value, clusters_of[key], kinds) for key, value in near.items()}
        for (layer, distance), view in views.items():
            for other in against:
                if distance == other or (layer, other) not in views:
                    continue
                beside = views[layer, other]
                spread = clustering.score_intervals(
                    partial(_difference, view, beside),
                    kinds[0], contexts=len(kinds), draws=draws, seed=seed,
                ).set_index("score")  # fmt: skip
                for score, of_counts in COMPARED.items():
                    _, p = clustering.swap_test(
                        view.counts(score), beside.counts(score), of_counts, kinds[0],
                        draws=SWAPS, seed=seed,
                    )  # fmt: skip
                    of = spread.loc[score]
                    rows.append(
                        (layer, distance, other, name, score, of["value"], of["low"], of["high"], p)
                    )
            progress.advance(1)
    columns = ["layer", "distance", "against", "labels", "score"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "ci_low", "ci_high", "p"])


def _difference(view: "_View", beside: "_View", some: np.ndarray, context: int) -> dict[str, float]:
    """The difference of the compared scores, on some prompts in one context."""
    ours, theirs = view.scores(some, context), beside.scores(some, context)
    return {score: ours[score] - theirs[score] for score in COMPARED}


def states(
    outputs: Float[np.ndarray, "context n n"],
    labels: pd.DataFrame,
    *,
    min_cluster_size: int,
    min_samples: int,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Are there as many states of the output as regions, and of the same prompts?

    States are clusters of the outputs of clean runs, by HDBSCAN on the distances between them;
    regions are the clusters by barrier, in `labels`. Noise is no state: each of its prompts stands
    alone.

    Returns
    -------
    One row a `layer` and `measure`: `states`, `regions`, `states per region` (numbers of clusters,
    and their ratio), `noise of states`, `noise of regions`, and `ari`, `ami` of the two partitions.
    `value` is the mean over contexts; the last two have the interval and the band of `scores`. A
    context without a cluster on either side has no ratio and no agreement.
    """
    found = [
        clustering.cluster(
            clustering.symmetrise(matrix), min_cluster_size=min_cluster_size,
            min_samples=min_samples, name="outputs",
        ).labels
        for matrix in outputs
    ]  # fmt: skip
    alone = [np.where(one < 0, -1 - np.arange(len(one)), one) for one in found]
    rows = []
    for (layer, distance), regions in partitions(labels).items():
        if distance != "barrier":
            continue
        number = [[len(np.unique(one[one >= 0])) for one in some] for some in (found, regions)]
        noise = [[float(np.mean(one < 0)) for one in some] for some in (found, regions)]
        where: dict[str, Any] = {
            "layer": layer, "prompts": len(found[0]), "contexts": len(found),
        }  # fmt: skip
        measured: dict[str, Any] = {"states": number[0], "regions": number[1]}
        measured |= {"noise of states": noise[0], "noise of regions": noise[1]}
        rows += [where | {"measure": name, "value": np.mean(n)} for name, n in measured.items()]
        if np.min(number) == 0:
            continue
        ratio = np.mean(number[0]) / np.mean(number[1])
        rows.append(where | {"measure": "states per region", "value": ratio})

        def agreement(some: np.ndarray, context: int, of: np.ndarray = regions) -> dict[str, float]:
            both = clustering.partition_scores(of[context][some], alone[context][some])
            return {name: both[name] for name in ("ari", "ami")}

        def shuffled(order: np.ndarray, of: np.ndarray = regions) -> dict[str, float]:
            pairs = zip(of, alone, strict=True)
            each = [clustering.partition_scores(a, b[order]) for a, b in pairs]
            return {name: float(np.mean([one[name] for one in each])) for name in ("ari", "ami")}

        spread = clustering.score_intervals(
            agreement, alone[0], contexts=len(found), draws=draws, seed=seed
        ).set_index("score")
        band = clustering.shuffled_band(
            shuffled, np.arange(len(alone[0])), draws=draws, seed=seed
        ).set_index("score")
        for name, of in zip(spread.index.astype(str), spread.to_dict("records"), strict=True):
            limits = {"value": of["value"], "ci_low": of["low"], "ci_high": of["high"]}
            limits |= {f"chance_{end}": band.loc[name, end] for end in ("low", "high")}
            rows.append(where | {"measure": name} | limits)
    columns = ["layer", "measure", "prompts", "contexts", "value"]
    columns += ["ci_low", "ci_high", "chance_low", "chance_high"]
    return pd.DataFrame(rows, columns=columns)


def confounded(matrices: Matrices, prompts: Prompts, *, seed: int) -> pd.DataFrame:
    """Are prompts of different kinds more distant than confounders between them explain?

    On each distance's mean over contexts, each divided by its median; see
    `clustering.partial_mantel`. The confounders are those of `prompts`, and with them, in `given`
    "input", the distance between the activations.

    Returns
    -------
    One row a `layer`, `distance`, `labels` and `given`: `correlation`, the two-sided `p`.
    """
    rows = []
    means = {
        key: np.mean([m / np.median(m[np.triu_indices(len(m), 1)]) for m in value], axis=0)
        for key, value in matrices.items()
    }
    for name, kinds in prompts.labels.items():
        if not (kinds == kinds[0]).all():
            continue
        for (layer, distance), mean in means.items():
            alone: dict[str, Any] = dict(prompts.confounders)
            both = alone | {"input": means[layer, "input"]}
            for given in (alone, both):
                if not given or (distance == "input" and "input" in given):
                    continue
                correlation, p = clustering.partial_mantel(
                    mean, kinds[0], given, draws=SHUFFLES, seed=seed
                )
                rows.append((layer, distance, name, ", ".join(given), correlation, p))
    columns = ["layer", "distance", "labels", "given", "correlation", "p"]
    return pd.DataFrame(rows, columns=columns)


def sensitivity(
    matrices: Matrices, prompts: Prompts, *, min_cluster_sizes: Sequence[int], min_samples: int
) -> pd.DataFrame:
    """Sensitivity to `min_cluster_size`: the scores against the first labels.

    Returns
    -------
    One row a `layer`, `distance`, `labels` and `min_cluster_size`: the scores of
    `partition_scores`, mean over contexts.
    """
    name, kinds = next(iter(prompts.labels.items()))
    rows = []
    for (layer, distance), value in matrices.items():
        tables = [
            clustering.sensitivity(
                m, k, min_cluster_sizes=min_cluster_sizes, min_samples=min_samples, name=distance
            )
            for m, k in zip(value, kinds, strict=True)
        ]
        mean = pd.concat(tables).groupby("min_cluster_size", as_index=False).mean()
        where = {"layer": layer, "distance": distance, "labels": name}
        rows.append(_with_place(mean, where))
    return pd.concat(rows, ignore_index=True)


def grids(
    raw: Mapping[str, np.ndarray], layers: Sequence[int], steps: Sequence[int]
) -> pd.DataFrame:
    """How a path's measures depend on the number of steps: coarser grids against the finest.

    Returns
    -------
    One row a `layer`, `measure` and `steps`: `pairs`, the median and quartiles of the ratio to the
    finest grid's value, and `rank_correlation` with it (Spearman).
    """
    rows = []
    for index, layer in enumerate(layers):
        for measure in PATH_MEASURES:
            values = raw[f"fine_{measure}_{SITE}"][index].astype(np.float64)
            values = values[np.isfinite(values).all(1)]
            for column, grid in enumerate(steps):
                ratio = values[:, column] / values[:, -1]
                q25, median, q75 = np.quantile(ratio, [0.25, 0.5, 0.75])
                rows.append(
                    {
                        "layer": layer,
                        "measure": measure.replace("_", " "),
                        "steps": grid,
                        "pairs": len(values),
                        "median": median,
                        "q25": q25,
                        "q75": q75,
                        "rank_correlation": spearmanr(values[:, column], values[:, -1]).statistic,
                    }
                )
    return pd.DataFrame(rows)


def maps(matrices: Matrices, labels: pd.DataFrame, prompts: Prompts) -> pd.DataFrame:
    """The prompts of the first context in the plane, under each distance at the first layer.

    Returns
    -------
    One row a `distance` and `prompt`: `name`, `kind` (the first of the labels), both quoted,
    `label` (its cluster), `x`, `y`, and `shown`, how much of the distances the plane holds.
    """
    layer = next(iter(matrices))[0]
    kinds = next(iter(prompts.labels.values()))[0]
    clusters_at = partitions(labels)
    parts = []
    for (at, distance), value in matrices.items():
        if at != layer:
            continue
        places, shares = clustering.classical_map(value[0])
        parts.append(
            pd.DataFrame(
                {"layer": layer, "distance": distance, "prompt": range(len(places)),
                 "name": [quoted(name) for name in prompts.names],
                 "kind": [quoted(str(kind)) for kind in kinds],
                 "label": clusters_at[at, distance][0],
                 "x": places[:, 0], "y": places[:, 1], "shown": shares}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def entries(matrices: Matrices) -> pd.DataFrame:
    """The distances in the first context at the first layer: one row a pair and distance."""
    layer = next(iter(matrices))[0]
    parts = []
    for (at, distance), value in matrices.items():
        if at != layer:
            continue
        i, j = np.triu_indices(len(value[0]), 1)
        parts.append(
            pd.DataFrame(
                {"layer": layer, "distance": distance, "i": i, "j": j, "value": value[0][i, j]}
            )
        )
    return pd.concat(parts, ignore_index=True)


def first_trees(trees: pd.DataFrame) -> pd.DataFrame:
    """The condensed trees of the first context at the first layer, of one model."""
    return trees[(trees["layer"] == trees["layer"].iloc[0]) & (trees["context"] == 0)]
