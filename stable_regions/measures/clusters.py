"""Clusters of prompts from a matrix of distances, and their scores against known kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import hdbscan
import numpy as np
import pandas as pd
from hdbscan._hdbscan_tree import compute_stability, get_clusters
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import squareform
from scipy.stats import rankdata
from sklearn.metrics.cluster import expected_mutual_information

from stable_regions.base.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def symmetrise(directed: ArrayLike) -> Floats:
    """Mean of `D[i, j]` and `D[j, i]`: each prompt of a pair is the context once."""
    matrix = np.asarray(directed, dtype=np.float64)
    return (matrix + matrix.T) / 2


def check_distances(
    distances: ArrayLike, *, name: str = "distances", prompts: Sequence[str] | None = None
) -> Floats:
    """The matrix [n, n] as float64; UserError unless it is one of distances.

    `name` is what an error calls the matrix (its file); `prompts`, if given, must be n different
    ones: a prompt that is there twice is a cluster by itself.

    Raises
    ------
    UserError
        Not square, not finite, negative, a diagonal that is not zero, or prompts that do not fit.
    """
    matrix = np.asarray(distances, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise UserError(f"{name}: has shape {matrix.shape}; expected a row and a column per prompt")
    for wrong, right in [
        (~np.isfinite(matrix), "every distance must be finite"),
        (matrix < 0, "a distance cannot be negative"),
        (np.diag(np.diag(matrix) != 0), "a prompt's distance from itself must be 0"),
    ]:
        if wrong.any():
            i, j = map(int, np.argwhere(wrong)[0])
            count = int(wrong.sum())
            raise UserError(f"{name}: [{i}, {j}] is {matrix[i, j]} ({count} such); {right}")
    if prompts is not None:
        if len(prompts) != len(matrix):
            raise UserError(
                f"{name}: {len(matrix)} rows for {len(prompts)} prompts; give one a prompt"
            )
        names = pd.Series(list(prompts))
        if names.duplicated().any():
            twice = names[names.duplicated()].iloc[0]
            raise UserError(f"{name}: duplicate prompt {twice!r}: keep one row")
    return matrix


@dataclass(frozen=True)
class Clustering:
    """HDBSCAN's clustering of n prompts.

    Attributes
    ----------
    labels : [n] cluster of each prompt, -1 for noise; 0, 1, ... as met in the tree, large first.
    probabilities : [n] how firmly a prompt belongs to its cluster, 0 to 1.
    persistence : [clusters] excess of mass of each cluster, divided by its largest possible value.
    tree : the condensed tree, a row an edge: ``parent``, ``child`` (below n a prompt, else a node;
        n is the root), ``lambda_val`` (1 / distance at which the child leaves), ``child_size``,
        ``label`` (the cluster that this child is, or, for a prompt, is in; else -1).
    """

    labels: Ints
    probabilities: Floats
    persistence: Floats
    tree: pd.DataFrame


def cluster(
    distances: ArrayLike, *, min_cluster_size: int, min_samples: int, name: str = "distances"
) -> Clustering:
    """HDBSCAN (excess of mass, exact minimum spanning tree) on a symmetric matrix [n, n].

    The partition depends neither on the order of the prompts nor on the number of threads. The
    package's own does on the first: with ``min_samples > 1`` edges of equal mutual reachability are
    the rule, ties or none in `distances` (one core distance is the length of several edges), the
    package breaks them by position, and a prompt whose core distance is just where two clusters
    meet goes to either. Here all that merges at one height merges at once, so such a prompt belongs
    to neither; without ties the result is the package's.

    Raises
    ------
    UserError
        From `check_distances`; a matrix that is not symmetric; settings that do not fit n.
    """
    matrix = check_distances(distances, name=name)
    n = len(matrix)
    if not (matrix == matrix.T).all():
        raise UserError(f"{name}: is not symmetric; symmetrise it first")
    if not 2 <= min_cluster_size <= n:
        raise UserError(
            f"{name}: min_cluster_size {min_cluster_size} for {n} prompts; take 2 to {n}"
        )
    if not 1 <= min_samples < n:
        raise UserError(f"{name}: min_samples {min_samples} for {n} prompts; take 1 to {n - 1}")
    fit = hdbscan.HDBSCAN(
        metric="precomputed",
        algorithm="generic",
        min_cluster_size=min_cluster_size,
        min_samples=min_samples,
        core_dist_n_jobs=1,
    ).fit(matrix)
    tree = _condense(fit.single_linkage_tree_.to_numpy(), min_cluster_size)
    edges = np.asarray(tree.drop(columns="member").to_records(index=False))
    labels, probabilities, persistence = get_clusters(edges, compute_stability(edges))
    # a cluster is the one node above its prompts that was born with just as many
    of_member = labels[tree["member"]]
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    chosen = (of_member >= 0) & (
        (tree["child_size"] == sizes[of_member]) | (tree["child_size"] == 1)
    )
    tree = tree.drop(columns="member").assign(label=np.where(chosen, of_member, -1))
    return Clustering(labels, probabilities, persistence, tree)


def _condense(linkage: Floats, min_cluster_size: int) -> pd.DataFrame:
    """Condensed tree of a single-linkage tree, merges of equal height taken as one.

    The edges are HDBSCAN's; ``member`` is one prompt under each child.
    """
    n = len(linkage) + 1

    def parts(node: int) -> list[int]:
        """The children of `node` just below its height."""
        members: list[int] = []
        todo = [node]
        while todo:
            for child in linkage[todo.pop() - n, :2].astype(int):
                same = child >= n and linkage[child - n, 2] == linkage[node - n, 2]
                (todo if same else members).append(int(child))
        return members

    def under(node: int) -> tuple[list[int], list[float]]:
        """Prompts under `node`, and the heights at which they merge, each sorted."""
        prompts, heights, todo = [], [], [node]
        while todo:
            if (top := todo.pop()) < n:
                prompts.append(top)
            else:
                heights.append(float(linkage[top - n, 2]))
                todo.extend(linkage[top - n, :2].astype(int).tolist())
        return sorted(prompts), sorted(heights)

    rows: list[tuple[int, int, float, int, int]] = []
    todo, nodes = [(2 * n - 2, n)], n + 1
    for node, parent in todo:  # grows as clusters are found
        height = linkage[node - n, 2]
        leave = 1 / height if height > 0 else np.inf
        large, small = [], []
        for part in parts(node):
            prompts, heights = under(part)
            if len(prompts) >= min_cluster_size:
                large.append((-len(prompts), heights, prompts, part))
            else:
                small.extend(prompts)
        rows += [(parent, prompt, leave, 1, prompt) for prompt in sorted(small)]
        if len(large) == 1:
            todo.append((large[0][-1], parent))
            continue
        # an order by shape, not by position, keeps sums and labels the same for shuffled prompts
        for _, _, prompts, part in sorted(large):
            rows.append((parent, nodes, leave, len(prompts), prompts[0]))
            todo.append((part, nodes))
            nodes += 1
    return pd.DataFrame(rows, columns=["parent", "child", "lambda_val", "child_size", "member"])


def partition_scores(labels: ArrayLike, kinds: ArrayLike) -> dict[str, float]:
    """How well clusters and kinds agree: ARI, AMI, homogeneity, completeness, noise, clusters.

    Each noise prompt counts as a cluster of its own: noise does not claim that its prompts are
    alike. Homogeneity then rises with noise, so read it beside the share of noise and the shuffled
    band (`shuffled_band`), which has the same noise.
    """
    labels = np.asarray(labels)
    n = len(labels)
    alone = np.where(labels < 0, labels.max() + 1 + np.arange(n), labels)
    # from one contingency table: the package's functions, one by one, take several times as long,
    # and resampling calls this many thousand times
    kind_names, kind_of = np.unique(np.asarray(kinds), return_inverse=True)
    cluster_names, cluster_of = np.unique(alone, return_inverse=True)
    shape = len(kind_names), len(cluster_names)
    table = np.bincount(kind_of * shape[1] + cluster_of, minlength=shape[0] * shape[1])
    table = table.reshape(shape)
    of_kind, of_cluster = table.sum(1), table.sum(0)
    kind, found = _entropy(of_kind), _entropy(of_cluster)
    both = kind + found - _entropy(table)
    chance = expected_mutual_information(table, n)
    pairs = [float((x * (x - 1)).sum()) for x in (table, of_kind, of_cluster)]
    expected = pairs[1] * pairs[2] / (n * (n - 1))
    most = (pairs[1] + pairs[2]) / 2
    above_chance = (kind + found) / 2 - chance  # none is left where no two prompts are together
    return {
        "ari": (pairs[0] - expected) / (most - expected) if most > expected else 1.0,
        "ami": (both - chance) / above_chance if above_chance > 1e-12 else 1.0,
        "homogeneity": both / kind if kind > 0 else 1.0,
        "completeness": both / found if found > 0 else 1.0,
        "noise": float(np.mean(labels < 0)),
        "clusters": float(shape[1] - (labels < 0).sum()),
    }


def _entropy(counts: Ints) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def neighbours(distances: ArrayLike, *, k: int) -> Floats:
    """[n, n] how much each other prompt is among the k nearest of each: rows have a sum of k.

    Others that tie for the last places share them, so order plays no part.
    """
    matrix = check_distances(distances)
    if not 1 <= k < len(matrix):
        raise UserError(
            f"neighbours: k is {k} for {len(matrix)} prompts; take 1 to {len(matrix) - 1}"
        )
    matrix = matrix + np.diag(np.full(len(matrix), np.inf))
    last = np.partition(matrix, k - 1, axis=1)[:, k - 1 : k]
    inside, tied = matrix < last, matrix == last
    places = k - inside.sum(1, keepdims=True)
    return inside + places / tied.sum(1, keepdims=True) * tied


def neighbour_shares(among: Floats, kinds: ArrayLike) -> Floats:
    """[n] share of each prompt's nearest others, as `neighbours` gives them, that are its kind."""
    kinds = np.asarray(kinds)
    return np.asarray((among * (kinds[:, None] == kinds)).sum(1) / among.sum(1))


def sensitivity(
    distances: ArrayLike,
    kinds: ArrayLike,
    *,
    min_cluster_sizes: Sequence[int],
    min_samples: int,
    name: str = "distances",
) -> pd.DataFrame:
    """`partition_scores` for each ``min_cluster_size``, a row each."""
    rows = []
    for size in min_cluster_sizes:
        clusters = cluster(distances, min_cluster_size=size, min_samples=min_samples, name=name)
        rows.append({"min_cluster_size": size, **partition_scores(clusters.labels, kinds)})
    return pd.DataFrame(rows)


def score_intervals(
    score: Callable[[Ints, int], Mapping[str, float]],
    kinds: ArrayLike,
    *,
    contexts: int = 1,
    draws: int,
    seed: int,
    level: float = 0.95,
) -> pd.DataFrame:
    """Intervals over prompts, and over contexts where there are several.

    ``score(prompts, context)`` computes named scores from the prompts with these indices; let it
    return a difference to get the interval of a difference, on the same prompts. Its mean over the
    contexts is the ``value``.

    Prompts are drawn as random halves of each kind, without replacement. A plain bootstrap would
    draw prompts twice, and a prompt agrees with its copy in any partition: scores of pairs would
    rise. The half needs no rescaling: a half's score about the whole's varies as the whole's about
    the truth, as 1/(n/2) - 1/n = 1/n. Contexts are drawn with replacement, one fewer than there
    are, which makes the variance of their mean unbiased. The spread of the draws about their mean
    is put about the value, since a score of half the prompts may be biased.

    Clusters and neighbours stay those of all prompts if `score` indexes into them: half the prompts
    are half as dense, and ``min_cluster_size`` would mean another thing. So the interval is that of
    the scores of a given clustering; `sensitivity` shows how much the clustering itself may move.

    Returns
    -------
    Columns ``score``, ``value``, ``low``, ``high``.
    """
    rng = np.random.default_rng(seed)
    kinds = np.asarray(kinds)
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]

    def mean(prompts: Ints, counts: Ints) -> Floats:
        scores = [list(score(prompts, int(context)).values()) for context in counts]
        return np.mean(scores, axis=0)

    everything = np.arange(len(kinds))
    names = list(score(everything, 0))
    value = pd.Series(mean(everything, np.arange(contexts)), names)
    resampled = []
    for _ in range(draws):
        half = [rng.permutation(g)[: (len(g) + rng.integers(2)) // 2] for g in groups]
        resampled.append(
            mean(np.sort(np.concatenate(half)), rng.integers(contexts, size=max(contexts - 1, 1)))
        )
    table = pd.DataFrame(dict(zip(names, np.transpose(resampled), strict=True)))
    spread = table - table.mean()
    tail = (1 - level) / 2
    low, high = value + spread.quantile(tail), value + spread.quantile(1 - tail)
    return (
        pd.DataFrame({"value": value, "low": low, "high": high}).rename_axis("score").reset_index()
    )


def shuffled_band(
    score: Callable[[NDArray], Mapping[str, float]],
    kinds: ArrayLike,
    *,
    draws: int,
    seed: int,
    level: float = 0.95,
) -> pd.DataFrame:
    """The same scores with the kinds shuffled over the prompts: the chance level.

    Returns
    -------
    Columns ``score``, ``value`` (mean of the shuffles), ``low``, ``high``, and ``p``, the one-sided
    p-value of the score with the kinds as they are.
    """
    rng = np.random.default_rng(seed)
    kinds = np.asarray(kinds)
    table = pd.DataFrame([score(rng.permutation(kinds)) for _ in range(draws)])
    observed = pd.Series(score(kinds))
    tail = (1 - level) / 2
    bands = pd.DataFrame(
        {
            "value": table.mean(),
            "low": table.quantile(tail),
            "high": table.quantile(1 - tail),
            "p": (1 + (table >= observed - 1e-12).sum()) / (1 + draws),
        }
    )
    return bands.rename_axis("score").reset_index()


def share_counts(shares: ArrayLike) -> Floats:
    """[..., n, 2] for `swap_test` and `share_of_counts`: each prompt's share, and 1."""
    shares = np.asarray(shares, dtype=np.float64)
    return np.stack([shares, np.ones_like(shares)], axis=-1)


def share_of_counts(sums: Floats) -> Floats:
    """Mean share from sums [..., 2] of `share_counts`."""
    return sums[..., 0] / sums[..., 1]


def rand_counts(labels: ArrayLike, kinds: ArrayLike) -> Floats:
    """[n, 4] each prompt's part in the ARI: others in its cluster, of its kind, both, and 1."""
    labels, kinds = np.asarray(labels), np.asarray(kinds)
    others = ~np.eye(len(labels), dtype=bool)
    mates = (labels[:, None] == labels) & (labels >= 0) & others
    alike = (kinds[:, None] == kinds) & others
    counts = [mates.sum(1), alike.sum(1), (mates & alike).sum(1), np.ones(len(labels))]
    return np.stack(counts, axis=-1).astype(np.float64)


def rand_of_counts(sums: Floats) -> Floats | np.floating:
    """Adjusted Rand index from sums [..., 4] of `rand_counts`."""
    mates, alike, both, n = np.moveaxis(sums, -1, 0)
    chance = mates * alike / (n * (n - 1))
    return (both - chance) / ((mates + alike) / 2 - chance)


def swap_test(
    first: Floats,
    second: Floats,
    of_counts: Callable[[Floats], Floats | np.floating],
    units: ArrayLike,
    *,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Do two distances, on the same prompts, differ in a score by more than chance?

    Under the null hypothesis a prompt's counts under either distance could as well be the other's.
    Swap them for a random half of the units, in all contexts at once, and score again. Prompts of
    one kind are each other's neighbours, hence not independent: take their kinds as the units. (Of
    made-up pairs of equally good distances, 7 % had p under 0.05 with kinds as units, 17 % with
    prompts.)

    Parameters
    ----------
    first, second : [contexts, n, q] counts of `share_counts` or `rand_counts`.
    of_counts : `share_of_counts` or `rand_of_counts`.
    units : [n] what is swapped as one.

    Returns
    -------
    The score of `first` less that of `second`, mean over contexts, and its two-sided p-value.
    """
    rng = np.random.default_rng(seed)
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    of_unit = np.eye(len(names))[unit]
    move = np.einsum("cnq,nu->ucq", second - first, of_unit)
    one, two = first.sum(1), second.sum(1)

    def difference(swapped: Floats) -> Floats:
        moved = np.tensordot(swapped, move, axes=1)
        return (of_counts(one + moved) - of_counts(two - moved)).mean(-1)

    observed = float(difference(np.zeros((1, len(names))))[0])
    chance = difference(rng.integers(2, size=(draws, len(names))).astype(np.float64))
    p = (1 + np.sum(np.abs(chance) >= abs(observed) - 1e-12)) / (1 + draws)
    return observed, float(p)


def partial_mantel(
    distances: ArrayLike,
    kinds: ArrayLike,
    confounders: Mapping[str, ArrayLike],
    *,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Are prompts of different kinds more distant than the confounders explain?

    Partial correlation, over pairs, of the rank of the distance with "of different kinds", given
    cubics in the ranks of the confounders: differences of log frequency or of token id (a value a
    prompt), or another distance (a matrix). Pairs share prompts, so the p-value comes from
    shuffling prompts, and what is shuffled is the part of "of different kinds" that the confounders
    leave (double semi-partialling; Dekker, Krackhardt and Snijders 2007), which is sounder than a
    plain partial Mantel test where the confounders are related to the kinds. Read the correlation
    first: where a distance is little else than a confounder, the p-value is too small (made-up
    distances along one line, kinds in order on it: 29 % of p-values under 0.05, with a mean
    correlation of 0.00; with five more dimensions 6 %).

    Returns
    -------
    The partial correlation and its two-sided p-value. With no confounders this is a Mantel test.
    """
    rng = np.random.default_rng(seed)
    matrix, kinds = check_distances(distances), np.asarray(kinds)
    n = len(matrix)
    upper = np.triu_indices(n, 1)
    columns = [np.ones(len(upper[0]))]
    for value in map(np.asarray, confounders.values()):
        pairs = value if value.ndim == 2 else np.abs(value[:, None] - value)
        rank = rankdata(pairs[upper]) / len(upper[0])
        columns += [rank, rank**2, rank**3]
    basis = np.linalg.qr(np.stack(columns, axis=1))[0]

    def rest(pairs: Floats) -> Floats:
        left = pairs - basis @ (basis.T @ pairs)
        return left / np.linalg.norm(left)

    target = rest(rankdata(matrix[upper]))
    kind_rest = rest((kinds[:, None] != kinds)[upper].astype(np.float64))
    square = squareform(kind_rest)
    observed = float(target @ kind_rest)
    chance = np.empty(draws)
    for i in range(draws):
        order = rng.permutation(n)
        chance[i] = target @ rest(square[order][:, order][upper])
    p = (1 + np.sum(np.abs(chance) >= abs(observed) - 1e-12)) / (1 + draws)
    return observed, float(p)


def classical_map(distances: ArrayLike) -> tuple[Floats, float]:
    """Classical (Torgerson) scaling to the plane: deterministic, and linear in squared distances.

    Returns
    -------
    Coordinates [n, 2], in units of the distance, signs fixed by the largest entry of each axis; and
    the share of the total of absolute eigenvalues that the two axes show.
    """
    # scikit-learn's ClassicalMDS keeps the eigenvalues of its axes alone, and the share is of all;
    # and where the second is below zero, by rounding too, it gives NaN.
    matrix = check_distances(distances)
    squared = matrix**2
    centred = squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    top = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0))
    top = top * np.sign(top[np.abs(top).argmax(0), [0, 1]])
    return top, float(values[-2:].sum() / np.abs(values).sum())
