"""What sharp boundaries correlate with: last tokens, contexts, predictions (paper, appendix G)."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from stable_regions.base.files import quoted
from stable_regions.experiments.interpolation.tables import Raw, block_of, estimate, stacked
from stable_regions.measures.boundaries import in_boundary
from stable_regions.measures.conventions import DIFFERS, HIGH, LOW
from stable_regions.measures.paths import max_slope

GROUPS = ("low", "middle", "high")


def what_differs(a: list[int], b: list[int]) -> str:
    """What two prompts differ in: their `context`, their `last token`, `both`, or `nothing`."""
    context, last = list(a[:-1]) != list(b[:-1]), a[-1] != b[-1]
    if context and last:
        return "both"
    return "context" if context else "last token" if last else "nothing"


def slopes(raw: Raw) -> pd.DataFrame:
    """One row a pair: what differs, max slope and its group, d(1), and the ends' predictions.

    All after the norm and in the context of the first prompt. `same_top_token` is 1 where both ends
    of the path predict one token, `jensen_shannon` the divergence of their predictions in bits. A
    pair whose ends give one output has no max slope and no group.
    """
    parts = []
    for table, meta in raw:
        part = table[["pair", "prompt_a", "prompt_b", "layer"]].copy()
        part.insert(0, "model", meta["model"])
        tokens = zip(table["tokens_a"], table["tokens_b"], strict=True)
        part["differs"] = [what_differs(a, b) for a, b in tokens]
        part["same_last_token"] = part["differs"].isin(["context", "nothing"]).astype(int)
        distance, top = stacked(table["distance_post_norm"]), stacked(table["top_token"])
        part["max_slope"] = max_slope(distance)
        edges = [-np.inf, LOW, np.nextafter(HIGH, np.inf), np.inf]
        part["group"] = pd.cut(part["max_slope"], edges, right=False, labels=list(GROUPS))
        part["distance"] = distance[:, -1]
        part["jensen_shannon"] = stacked(table["jensen_shannon"])[:, -1]
        part["same_top_token"] = (top[:, 0] == top[:, -1]).astype(int)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def groups(table: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Shares and medians in each group of pairs, with intervals.

    Pairs are grouped by their max slope (`low`, `middle`, `high`, and `all` together), and by what
    differs between their prompts.

    Parameters
    ----------
    table
        As made by `slopes`.

    Returns
    -------
    One row a model, layer, `grouping`, `group` and `measure`: `pairs`, `value`, 95 % interval.
    """
    means = ["same_last_token", "same_top_token"]
    medians = ["max_slope", "distance", "jensen_shannon"]
    rows = []
    for (model, layer), part in table.groupby(["model", "layer"], sort=False):
        part = part[part["max_slope"].notna()].assign(
            low=lambda t: t["max_slope"] < LOW, high=lambda t: t["max_slope"] > HIGH
        )
        members = [("max slope", name, part[part["group"] == name]) for name in GROUPS]
        members += [("max slope", "all", part)]
        members += [("differs", name, part[part["differs"] == name]) for name in DIFFERS]
        for grouping, group, some in members:
            for measure in [*means, "low", "high", *medians]:
                rows.append(
                    {
                        "model": model,
                        "layer": layer,
                        "grouping": grouping,
                        "group": group,
                        "measure": measure,
                        **estimate(
                            some[measure].to_numpy(dtype=np.float64),
                            np.median if measure in medians else np.mean,
                            block=block_of(some),
                            resamples=resamples,
                            seed=seed,
                        ),
                    }
                )
    return pd.DataFrame(rows)


def examples(
    table: pd.DataFrame, prompts: Sequence[pd.DataFrame], *, number: int, seed: int
) -> pd.DataFrame:
    """Random pairs of low and of high max slope, with their texts, as the paper prints them.

    Parameters
    ----------
    table
        As made by `slopes`.
    prompts
        Prompts of each model, in the order of the models in `table`.
    number
        Pairs drawn from each group; all of a group that has fewer.

    Returns
    -------
    One row a pair, its texts quoted; `available` says how many its group has.
    """
    parts = []
    for (model, of_model), texts in zip(table.groupby("model", sort=False), prompts, strict=True):
        texts = texts.set_index("prompt")
        for (layer, group), some in of_model.groupby(["layer", "group"], observed=True):
            if group == "middle":
                continue
            rng = np.random.default_rng(seed)
            sample = some.iloc[rng.permutation(len(some))[:number]]
            part = pd.DataFrame({"model": model, "layer": layer, "group": group}, sample.index)
            part["available"] = len(some)
            part["pair"] = sample["pair"]
            for side in "ab":
                numbers = sample[f"prompt_{side}"]
                part[f"text_{side}"] = list(map(quoted, texts["text"].loc[numbers]))
                part[f"last_token_{side}"] = list(map(quoted, texts["last_token"].loc[numbers]))
            part["max_slope"], part["distance"] = sample["max_slope"], sample["distance"]
            parts.append(part)
    columns = [
        "model", "layer", "group", "available", "pair", "text_a", "last_token_a", "text_b",
        "last_token_b", "max_slope", "distance",
    ]  # fmt: skip
    return pd.concat([pd.DataFrame(columns=columns), *parts], ignore_index=True)[columns]


def predictions(raw: Raw, *, resamples: int, seed: int) -> pd.DataFrame:
    """How much the prediction moves inside a region, and across its boundary.

    Of all paths with a boundary (`boundaries.MAIN`, on the outputs after the norm) that does not
    begin at A itself. The Jensen-Shannon distance is the root of the divergence in bits: 0 to 1.

    Measures, each as the mean over paths:

    - `step_region`, `step_boundary`: mean distance of successive predictions, for steps inside
      regions and in boundaries; both over the same stretch of alpha, one step.
    - `change_region`, `change_boundary`: share of these steps at which the top token changes.
    - `within`: distance from A's prediction to that at the last point of A's region; `across`: to
      that at the first point behind the boundary; `ends`: to that at B.
    - `top_within`, `top_across`: whether the top token there is still A's.
    - `alpha_within`, `alpha_across`: where these two points are.
    """
    rows = []
    for table, meta in raw:
        for layer, part in table.groupby("layer"):
            block = block_of(part)
            for measure, values in _crossings(part):
                rows.append(
                    {
                        "model": meta["model"],
                        "layer": layer,
                        "measure": measure,
                        **estimate(values, np.mean, block=block, resamples=resamples, seed=seed),
                    }
                )
    return pd.DataFrame(rows)


def _crossings(table: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    mask = in_boundary(stacked(table["step_post_norm"]))
    mask = mask[used := mask.any(axis=1) & ~mask[:, 0]]
    step = np.sqrt(stacked(table["jensen_shannon_step"])[used])
    start = np.sqrt(stacked(table["jensen_shannon"])[used])
    top = stacked(table["top_token"])[used]
    changed = top[:, 1:] != top[:, :-1]
    for name, values in (("step", step), ("change", changed)):
        for place, where in (("region", ~mask), ("boundary", mask)):
            yield f"{name}_{place}", (values * where).sum(axis=1) / where.sum(axis=1)
    path = np.arange(len(mask))
    before = mask.argmax(axis=1)  # step i leads from point i to point i + 1
    left = np.arange(mask.shape[1]) >= before[:, None]
    ended = left & ~mask
    after = np.where(ended.any(axis=1), ended.argmax(axis=1), mask.shape[1])
    for name, point in (("within", before), ("across", after)):
        yield name, start[path, point]
        yield f"top_{name}", (top[path, point] == top[:, 0]).astype(np.float64)
        yield f"alpha_{name}", point / mask.shape[1]
    yield "ends", start[:, -1]


def tabulate(
    raw: Raw, prompts: Sequence[pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Pairs, groups of them, examples, and predictions."""
    table = slopes(raw)
    return {
        "slopes": table,
        "groups": groups(table, resamples=resamples, seed=seed),
        "examples": examples(table, prompts, number=20, seed=seed),
        "predictions": predictions(raw, resamples=resamples, seed=seed),
    }
