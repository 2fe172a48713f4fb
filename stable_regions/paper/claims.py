"""The ledger of claims: the statement, the estimates and their data, and the verdict.

A claim has one test or more, and says all that they test. A test makes one estimate, with a 95 %
interval, for each model, series of models or pair, and has one threshold. The same rule decides all
claims:

- an estimate *holds* if its whole interval is beyond the threshold, *fails* if none of it is, and
  is *open* if the threshold lies inside;
- a test holds if all its estimates do, and fails if none does and one or more fail; if some hold
  and some fail it is *mixed*, and if none fails and some are open it is *open*;
- a claim is `replicated` if all its tests hold, and `not replicated` if one or more fail and no
  other holds anywhere. It is `inconclusive` if nothing fails but something is open: the data cannot
  decide. All else is `partly`: some of what it says holds, or it holds somewhere, and the rest
  fails. It is `not run` as long as one of its tests has no data.

An open estimate says how many pairs would decide it.

The intervals are over pairs (`measures.block_bootstrap`): they say what other pairs of the same
prompt set would give on the same models, not what other models would.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binomtest

from stable_regions.base.errors import UserError
from stable_regions.experiments.depth.tables import read_slopes
from stable_regions.experiments.interpolation.tables import Raw, block_of, stacked
from stable_regions.measures.boundaries import in_boundary, speed
from stable_regions.measures.laws import FEWEST, LAWS, left_out_error
from stable_regions.measures.paths import block_bootstrap, interval
from stable_regions.paper.ledger import (
    AnyTest,
    Cells,
    Change,
    Claim,
    Jumps,
    Law,
    OnTable,
    Original,
    Rest,
    Series,
    Share,
    Test,
    Trend,
    Value,
)
from stable_regions.paper.series import Sizes, checkpoints, sizes

# Draws resamples of `values`, in blocks, and gives the statistic of each.
Draw = Callable[..., np.ndarray]


# Estimators: each gives one estimate a model or series, and none where the data have nothing.


COUNTED = ("pairs", "bases")  # columns of tables: of how many an estimate is


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval: its subject, its models, and the number of pairs (or bases).

    The interval's ends are NaN where some resamples have no value, so that there is none.
    """

    of: str
    models: list[str]
    pairs: int | None
    value: float
    low: float
    high: float


def select_rows(table: pd.DataFrame, where: Mapping[str, Value | list[Value]]) -> pd.DataFrame:
    """The rows whose columns hold the given value, or one of the given values, as they are written.

    A column of names is read from CSV as one of numbers where all of them look like numbers.
    """
    for column, value in where.items():
        names = map(str, value if isinstance(value, list) else [value])
        table = table[table[column].astype(str).isin(list(names))]
    return table


def refs(models: pd.DataFrame, which: str) -> set[str]:
    """The models that are `trained`, `random` (weights), `untrained` or the `last` checkpoints."""
    twin, start = models["source"] == "random", models["step"] == 0
    if which == "last":
        # by tokens: a hub's `main` has no step
        checkpoints = models[models["tokens"] > 0].sort_values("tokens")
        return set(checkpoints.groupby("name")["model"].last())
    rows = {"trained": ~twin & ~start, "random": twin, "untrained": ~twin & start}[which]
    return set(models.loc[rows, "model"])


def cells(test: Cells, table: pd.DataFrame, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Numbers that a table holds, with their intervals. Without one a number counts as exact.

    One estimate a row, over as many pairs (or bases) as the table says, or the one `pair` of the
    row. A row without a number (of no pairs) is passed over. With `families`, models of others are
    too.
    """
    if test.families is not None:
        models = models[models["family"].isin(test.families)]
    rows = select_rows(table, test.where)
    rows = rows[rows["model"].isin(refs(models, test.models)) & rows[test.value].notna()]
    low, high = test.interval or [test.value, test.value]
    alone = 1 if "pair" in rows else None
    list_columns = [column for column, value in test.where.items() if isinstance(value, list)]
    return [
        Estimate(
            of=", ".join(str(row[column]) for column in ["model", *list_columns]),
            models=[row["model"]],
            pairs=next((int(row[column]) for column in COUNTED if column in row), alone),
            value=row[test.value],
            low=row[low],
            high=row[high],
        )
        for row in rows.to_dict("records")
    ]


def _share(model: str, values: np.ndarray, block: int, draw: Draw) -> Estimate:
    """A share with the wider, at either end, of Wilson's interval and the bootstrap's.

    The bootstrap knows of prompts that pairs share, but takes a share of 1 for certain; Wilson's
    interval doesn't.
    """
    value = float(values.mean())
    alone = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    both = [alone, interval(draw(values, block=block, statistic=np.mean))]
    low, high = min(float(ends[0]) for ends in both), max(float(ends[1]) for ends in both)
    return Estimate(model, [model], len(values), value, low, high)


def share(test: Share, table: pd.DataFrame, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Share of the chosen pairs for which a column (of 0 and 1) is 1, by trained model."""
    rows = select_rows(table[table["model"].isin(refs(models, "trained"))], test.where)
    return [
        _share(str(model), part[test.value].to_numpy(dtype=np.float64), block_of(part), draw)
        for model, part in rows.groupby("model", sort=False)
    ]


def _median(model: str, values: Float[np.ndarray, " pair"], block: int, draw: Draw) -> Estimate:
    low, high = interval(draw(values, block=block))
    return Estimate(model, [model], len(values), float(np.median(values)), low, high)


def rest(test: Rest, raw: Raw, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Median share of a path's steps that are slower than `slower_than` times its mean, by model.

    Of trained models; read after the norm. Even movement has a share of 0.
    """
    estimates = []
    for table, model in _raw_parts(test, raw, models):
        pace = speed(stacked(table["step_post_norm"]))
        pace = pace[np.isfinite(pace).all(axis=1)]
        slow = (pace < test.slower_than).mean(axis=1)
        if len(slow):
            estimates.append(_median(model, slow, block_of(table), draw))
    return estimates


def jumps(test: Jumps, raw: Raw, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Share of paths whose largest step of the prediction is in a boundary of the output.

    Of trained models. The step is that of `of`: the logit difference of the ends' top tokens, or
    the Jensen-Shannon divergence of successive predictions. Boundaries as in `boundaries.MAIN`;
    paths without one, and those on which the prediction doesn't move, do not count.
    """
    estimates = []
    for table, model in _raw_parts(test, raw, models):
        mask = in_boundary(stacked(table["step_post_norm"]))
        moves = stacked(table[test.of])
        if test.of == "logit_difference":
            moves = np.abs(np.diff(moves, axis=1))
        used = mask.any(axis=1) & (moves.max(axis=1) > 0)
        inside = mask[used][np.arange(used.sum()), moves[used].argmax(axis=1)]
        if len(inside):
            estimates.append(_share(model, inside.astype(np.float64), block_of(table), draw))
    return estimates


def _raw_parts(
    test: Rest | Jumps, raw: Raw, models: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, str]]:
    """Raw outputs of the trained models at the test's write layer, and which model's they are."""
    for table, meta in raw:
        part = table[table["layer"] == test.layer]
        if meta["model"] in refs(models, "trained") and len(part):
            yield part, meta["model"]


Point = tuple[float, str, int]  # place in its series, model, write layer


def series(test: Series, table: pd.DataFrame, models: pd.DataFrame) -> dict[str, list[Point]]:
    """The series of a table: for each its points in order, two at least.

    `training` and `size` are those of the module `series`, at the first write layer of the table;
    `write layers` are those of a trained model. Of `twins` and `BOS token` a series is two models
    of one shape, at the first write layer: one of random weights and a trained one; one without a
    BOS token and one with it, both trained.
    """
    first = int(table["layer"].min())
    models = models[models["model"].isin(table["model"])]
    random = models["source"] == "random"
    points_of: dict[str, list[Point]] = {}
    if test.series in ("twins", "BOS token"):
        trained = models[~random & ~(models["step"] == 0)]
        one, other = models[random], trained
        if test.series == "BOS token":
            one, other = trained[~trained["bos"]], trained[trained["bos"]]
        shape = ["layers", "hidden_size", "parameters"]
        pairs = other.merge(one, on=shape, suffixes=("", "_first"))
        for model, start in zip(pairs["model"], pairs["model_first"], strict=True):
            points_of[model] = [(0, start, first), (1, model, first)]
        return points_of
    models = models[~random]
    if test.series == "write layers":
        layers = sorted(map(int, table["layer"].unique()))
        for model in models["model"]:
            points_of[model] = [(layer, model, layer) for layer in layers]
    elif test.series == "training":
        tokens = models.set_index("model")["tokens"]
        for name, refs in checkpoints(models).items():
            points_of[name] = [(float(tokens[ref]), ref, first) for ref in refs]
    else:
        for sized in sizes(models)[0]:
            points_of[size_name(sized)] = [(i, ref, first) for i, ref in enumerate(sized.models)]
    return {name: points for name, points in points_of.items() if len(points) > 1}


def size_name(one: Sizes) -> str:
    """What an estimate over a series of sizes is of."""
    fixed = {"depth": ", at width", "width": ", at depth", "parameters": ""}[one.varies]
    return " ".join([f"{one.family}: {one.varies}{fixed}", *([str(one.at)] if one.at else [])])


def _along(
    test: Series,
    table: pd.DataFrame,
    points_of: Mapping[str, list[Point]],
    statistic: Callable[[np.ndarray, np.ndarray], float],
    draw: Draw,
) -> list[Estimate]:
    """The statistic of (places in the series, medians over pairs), the same pairs at each point.

    None where it has no value, or not in every draw: a ratio to a median of nothing counted.
    """
    estimates = []
    for name, points in points_of.items():
        columns = [
            select_rows(table, {"model": model, "layer": layer}).set_index("pair")[test.value]
            for _, model, layer in points
        ]
        slopes = pd.concat(columns, axis=1, join="inner").dropna().to_numpy(dtype=np.float64)
        places = np.array([place for place, _, _ in points])

        def of_pairs(values: np.ndarray, axis: int, places: np.ndarray = places) -> np.ndarray:
            return np.apply_along_axis(partial(statistic, places), -1, np.median(values, axis))

        if not len(slopes):
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(of_pairs(slopes, 0))
            low, high = interval(draw(slopes, block=block_of(table), statistic=of_pairs))
        if np.isfinite([value, low, high]).all():
            used = list(dict.fromkeys(model for _, model, _ in points))
            estimates.append(Estimate(name, used, len(slopes), value, low, high))
    return estimates


def change(test: Change, table: pd.DataFrame, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Median over pairs at the last point of a series (or at `to`) over that at its first."""
    points_of: dict[str, list[Point]] = {}
    for name, points in series(test, table, models).items():
        last = points[-1:] if test.to is None else [p for p in points[1:] if p[0] == test.to]
        points_of |= {name: [points[0], *last]} if last else {}
    return change_between(test, table, points_of, draw)


def change_between(
    test: Series, table: pd.DataFrame, points_of: Mapping[str, list[Point]], draw: Draw
) -> list[Estimate]:
    """Median over pairs at the last of the points given over that at the first."""
    return _along(test, table, points_of, lambda _, medians: float(medians[-1] / medians[0]), draw)


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's rank correlation: pairs in one order less those in the other, of all pairs."""
    ordered = np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y))
    return float(ordered.sum() / (len(x) * (len(x) - 1)))


def trend(test: Trend, table: pd.DataFrame, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Rank correlation of the median over pairs with the place in a series, of three points on."""
    start = int(test.after_start)
    points_of = {name: points[start:] for name, points in series(test, table, models).items()}
    points_of = {name: points for name, points in points_of.items() if len(points) > 2}
    return _along(test, table, points_of, kendall, draw)


def law(test: Law, raw: Raw, models: pd.DataFrame, draw: Draw) -> list[Estimate]:
    """Error of each rival law over that of the count of layers: see `measures.laws`.

    Of the last checkpoints, each left out in turn. Above 1, the number of layers between writing
    and reading predicts the max slope of a model that it has not seen better than the rival does.
    """
    parts, cells = [], []
    for table, meta in raw:
        if meta["model"] not in refs(models, "last"):
            continue
        own = models[models["model"] == meta["model"]].iloc[0]
        for layer, part in table.groupby("layer"):
            slopes = read_slopes(part["distance_reads"], len(meta["alpha"]))
            parts.append(pd.DataFrame(slopes, index=part["pair"].to_numpy()))
            between = np.arange(1, slopes.shape[1] + 1)
            cells.append(pd.DataFrame({**own, "between": between, "written": layer}))
            block = block_of(part)
    if len({meta["model"] for _, meta in raw} & refs(models, "last")) < FEWEST:
        return []
    facts = pd.concat(cells, ignore_index=True)
    if test.read_layers == "last":
        chosen = (facts["written"] == facts["written"].min()) & (
            facts["between"] == facts["layers"] - 1 - facts["written"]
        )
        facts = facts[chosen]
    slopes = pd.concat(parts, axis=1, join="inner").to_numpy()[:, facts.index]
    slopes = slopes[np.isfinite(slopes).all(axis=1)]
    columns = {str(name): facts[name].to_numpy() for name in facts}
    model = facts["model"].factorize()[0]
    used = list(dict.fromkeys(facts["model"]))
    estimates = []
    for rival in test.rivals:
        if rival == "loss" and not np.isfinite(columns.get("held_out_loss", np.nan)).all():
            continue  # of models that were not trained here
        ours, theirs = LAWS["layers between"](columns), LAWS[rival](columns)

        def ratio(logs: np.ndarray, ours: np.ndarray = ours, theirs: np.ndarray = theirs) -> float:
            return left_out_error(logs, theirs, model) / left_out_error(logs, ours, model)

        def of_pairs(values: np.ndarray, axis: int, ratio: Any = ratio) -> np.ndarray:
            return np.apply_along_axis(ratio, -1, np.log(np.median(values, axis)))

        low, high = interval(draw(slopes, block=block, statistic=of_pairs))
        value = float(of_pairs(slopes, 0))
        estimates.append(Estimate(rival, used, len(slopes), value, low, high))
    return estimates


# The verdict

TESTS: Mapping[str, Callable[..., list[Estimate]]] = {
    "cells": cells, "share": share, "change": change, "trend": trend, "rest": rest, "jumps": jumps,
    "law": law,
}  # fmt: skip


def estimates(
    test: AnyTest, data: pd.DataFrame | Raw, models: pd.DataFrame, draw: Draw
) -> list[dict[str, Any]]:
    """What a test estimates, of data it reads: see `with_outcomes`."""
    return with_outcomes(test, TESTS[test.test](test, data, models, draw))


def with_outcomes(test: Test, made: list[Estimate]) -> list[dict[str, Any]]:
    """Estimates as plain values, each with its outcome by the test's threshold.

    Where that is open, with the pairs that would decide it (`pairs_to_decide`). Without an interval
    it is open, and the ends are None. `original` is what the paper gives for it: see `beside`.
    """
    rows = []
    for one in made:
        outcome = test.outcome(one.low, one.high)
        more = pairs_to_decide(one, test.threshold) if outcome == "open" else None
        row = asdict(one) | {"outcome": outcome, "pairs_to_decide": more}
        row["original"] = next(
            (beside(one, each) for each in test.original if each.of in (None, one.of)), None
        )
        if math.isnan(one.low) or math.isnan(one.high):
            row |= {"low": None, "high": None}
        rows.append(row)
    return rows


def beside(one: Estimate, original: Original) -> dict[str, Any]:
    """What the paper gives for an estimate, and how ours differs from it.

    Returns
    -------
    The entry; `difference`, ours less the paper's, from the nearer end where that is a range;
    `inside`, whether the paper's is inside our interval, or None without an interval.
    """
    nearest = min(max(one.value, original.low), original.high)
    inside = original.low <= one.high and one.low <= original.high
    return original.model_dump() | {
        "difference": one.value - nearest,
        "inside": None if math.isnan(one.low) or math.isnan(one.high) else inside,
    }


def pairs_to_decide(one: Estimate, threshold: float) -> int | None:
    """How many pairs would bring the threshold out of the interval, if the estimate stayed.

    An interval's width goes with the inverse root of the number of pairs. None where there are no
    pairs to take more of, where the estimate is at the threshold itself, or without an interval.
    """
    end = one.low if one.value > threshold else one.high
    if one.pairs is None or one.value == threshold or math.isnan(end):
        return None
    return math.ceil(one.pairs * ((end - one.value) / (threshold - one.value)) ** 2) + 1


def state(outcomes: list[str]) -> str:
    """What the outcomes of a test's estimates come to: see the module's rule."""
    if "fails" not in outcomes:
        return "open" if "open" in outcomes else "holds"
    return "mixed" if "holds" in outcomes else "fails"


def verdict(outcomes: list[list[str]], needs: list[str]) -> str:
    """The verdict from the outcomes of a claim's estimates, test by test: see the module's rule."""
    if needs:
        return f"not run: needs {'; '.join(needs)}"
    states = {state(test) for test in outcomes}
    if states == {"holds"}:
        return "replicated"
    if not states & {"fails", "mixed"}:
        return "inconclusive"
    return "partly" if states & {"holds", "mixed"} else "not replicated"


def elsewhere(outcomes: list[str]) -> str:
    """What the outcomes of a test that is no part of the verdict come to."""
    held = outcomes.count("holds")
    if held < len(outcomes):
        return f"{held} of {len(outcomes)} hold"
    return "holds" if outcomes else "not run"


def check(
    claim: Claim,
    tables: Mapping[str, pd.DataFrame],
    raw: Mapping[str, Raw],
    models: pd.DataFrame,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Run the tests of a claim on a study's data.

    Parameters
    ----------
    tables, raw
        Tables by name and raw outputs by experiment; those that the study doesn't have are missing.
    models
        The table of models, as made by `model_facts.model_table`; for a series `BOS token` with a
        column `bos`, whether a model's prompts begin with one.

    Returns
    -------
    The claim's entry, its `verdict`, the `models` used, and its tests: each with its entry, its
    `estimates` (see `with_outcomes`) and their `state`;
    `also`, each with its test in the same way and its `outcome`. All of it is plain values.

    Raises
    ------
    UserError
        A table or a raw output lacks a column that the claim reads.
    """
    draw = partial(block_bootstrap, resamples=resamples, seed=seed)

    def judged(test: AnyTest) -> dict[str, Any] | None:
        """A test with its estimates and their state, if its data are there."""
        data = tables.get(test.source) if isinstance(test, OnTable) else raw.get(test.source)
        if data is None:
            return None
        found = estimates(test, _read(claim, test, data), models, draw)
        known = state([one["outcome"] for one in found]) if found else None
        return test.model_dump() | {"estimates": found, "state": known}

    tests, needs = [], []
    for test in claim.tests:
        found = judged(test)
        if found is None:
            needs.append(test.experiment)
        elif not found["estimates"]:
            needs.append(f"{test.needs} in {test.experiment}")
        tests.append(found or test.model_dump() | {"estimates": [], "state": None})
    also = []
    for one in claim.also:
        found = judged(one.test) or one.test.model_dump() | {"estimates": [], "state": None}
        also.append(one.model_dump() | {"test": found, "outcome": elsewhere(_outcomes(found))})
    needs = list(dict.fromkeys(needs))
    used = [model for test in tests for one in test["estimates"] for model in one["models"]]
    return {
        **claim.model_dump(),
        "verdict": verdict([_outcomes(test) for test in tests], needs),
        "models": list(dict.fromkeys(used)),
        "tests": tests,
        "also": also,
    }


def _outcomes(test: Mapping[str, Any]) -> list[str]:
    return [one["outcome"] for one in test["estimates"]]


def _read(claim: Claim, test: Test, data: pd.DataFrame | Raw) -> pd.DataFrame | Raw:
    """The columns that a test names, and no others."""
    frames = [data] if isinstance(data, pd.DataFrame) else [table for table, _ in data]
    for frame in frames:
        if missing := [name for name in test.columns if name not in frame]:
            raise UserError(
                f"claim {claim.id}: {test.source} has no column {missing[0]!r}; "
                f"it has {', '.join(map(str, frame.columns))}"
            )
    if isinstance(data, pd.DataFrame):
        return data[test.columns]
    return [(table[test.columns], meta) for table, meta in data]


def flat(results: list[dict[str, Any]]) -> pd.DataFrame:
    """Checked claims as a tidy table: one row an estimate, and one a test that has none."""
    rows = []
    for claim in results:
        facts = {key: claim[key] for key in ("id", "whose", "place", "verdict")}
        for test in claim["tests"]:
            direction = "above" if test["above"] is not None else "below"
            for one in test["estimates"] or [{}]:
                rows.append(
                    {
                        "claim": facts["id"],
                        "whose": facts["whose"],
                        "place": facts["place"],
                        "estimand": test["estimand"],
                        "of": one.get("of"),
                        "pairs": one.get("pairs"),
                        "estimate": one.get("value"),
                        "ci_low": one.get("low"),
                        "ci_high": one.get("high"),
                        "must_be": direction,
                        "threshold": test[direction],
                        "outcome": one.get("outcome"),
                        "pairs_to_decide": one.get("pairs_to_decide"),
                        "verdict": facts["verdict"],
                        "command": claim["command"],
                        "points": claim["cost"]["points"],
                        "jobs": claim["cost"]["jobs"],
                        "training_tokens": claim["cost"]["training_tokens"],
                    }
                )
    return pd.DataFrame(rows).astype({"pairs": "Int64", "pairs_to_decide": "Int64"})
