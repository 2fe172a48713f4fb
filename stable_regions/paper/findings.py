"""The judgements that the text of the paper makes: comparisons and their outcomes.

The rule is the ledger's (`claims`): a comparison is `above` or `below` its threshold if its whole
95 % interval is, on resampled pairs, and else `open`. Where a claim of the ledger asks the same of
the same data, its outcome is taken over, so that the text cannot say another thing than the ledger.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from stable_regions.experiments.interpolation.predictions import LOW
from stable_regions.measures.paths import block_bootstrap
from stable_regions.paper import claims, series

Tables = Mapping[str, pd.DataFrame]
Finding = dict[str, Any]
# What makes two tests ask the same question, whatever threshold they hold the answer to.
QUESTION = {"test", "table", "where", "series", "value", "to", "models", "families"}
SLOPE = "max_slope_post_norm"
SCORES = ("neighbours", "ari")
KINDS = tuple(
    f"{name}_comparisons" for name in ("words", "words-many", "words-gemma", "words-training")
)


def side(test: Mapping[str, Any], outcome: str) -> str:
    """The side of a test's threshold on which an estimate with this outcome lies."""
    if outcome == "open":
        return "open"
    return "above" if (outcome == "holds") == (test["above"] is not None) else "below"


def judged(
    test: claims.Cells | claims.Change,
    ledger: Sequence[Mapping[str, Any]],
    table: pd.DataFrame,
    models: pd.DataFrame,
    draw: claims.Draw,
) -> dict[str, Finding]:
    """The answers to a test by what they are of: the ledger's, if a claim of it asks the same.

    Parameters
    ----------
    ledger
        Checked claims, as `claims.check` gives them.
    """
    question = test.model_dump(include=QUESTION)
    for claim in ledger:
        for ledger_test in claim["tests"]:
            if {key: ledger_test.get(key) for key in question} == question:
                return {
                    one["of"]: _entry(ledger_test, one, claim["id"])
                    for one in ledger_test["estimates"]
                }
    own = claims.estimates(test, table, models, draw)
    return {one["of"]: _entry(test.model_dump(), one, None) for one in own}


def _entry(test: Mapping[str, Any], one: Mapping[str, Any], claim: str | None) -> Finding:
    direction = "above" if test["above"] is not None else "below"
    return {
        "verdict": side(test, one["outcome"]),
        **{key: one[key] for key in ("pairs", "value", "low", "high")},
        "threshold": test[direction],
        "claim": claim,
    }


def _change(table: str, along: str, to: int | None = None) -> claims.Change:
    return claims.Change.model_validate(
        {
            "test": "change", "estimand": "last over first", "table": table, "series": along,
            "to": to, "value": SLOPE, "above": 1, "columns": [SLOPE],
            "reason": "Sharper means a larger max slope.", "needs": "two of a series",
        }
    )  # fmt: skip


def _cells(table: str, where: Mapping[str, Any], value: str, **changes: Any) -> claims.Cells:
    fields = {
        "test": "cells", "estimand": value, "table": table, "where": where, "value": value,
        "columns": [value], "models": "trained", "reason": "As in the ledger.", "needs": "a model",
    }  # fmt: skip
    return claims.Cells.model_validate(fields | changes)


def findings(
    tables: Tables,
    ledger: Sequence[Mapping[str, Any]],
    models: pd.DataFrame,
    *,
    resamples: int,
    seed: int,
) -> list[Finding]:
    """All judgements of the text, from the tables that the study has.

    Parameters
    ----------
    tables
        Tables by name. Of `size`, `training` and `layers` those of single pairs are read.
    ledger
        Checked claims, as `claims.check` gives them.
    models
        The table of models, in the order of the study.

    Returns
    -------
    One entry a judgement: its `id`, the `topic` of the text, the `experiment` whose tables it is
    from, what is `compared`, `of` what, the `verdict` (`above`, `below` or `open`), and the numbers
    behind it; `claim` is the ledger's claim whose outcome it is, None if it is judged here.
    """
    draw = partial(block_bootstrap, resamples=resamples, seed=seed)
    ask = partial(judged, ledger=ledger, models=models, draw=draw)
    rows: list[Finding] = []
    if "size_pairs" in tables:
        rows += _sizes(ask, tables["size_pairs"], models)
    if "training_pairs" in tables:
        rows += _training(ask, tables["training_pairs"], models, draw)
    if "layers_pairs" in tables:
        rows += _layers(ask, tables["layers_pairs"])
    if "sharpness" in tables:
        rows += _twins(ask, tables["sharpness"])
    for name, table in tables.items():
        if name in KINDS:
            rows += _kinds(ask, name, table)
    if "robustness" in tables:
        rows += _robustness(tables["robustness"])
    if "directions_comparisons" in tables:
        rows += _directions(ask, tables["directions_comparisons"])
    if "mixing" in tables:
        rows += _mixtures(ask, tables["mixing"])
    return rows


def _named(
    topic: str, experiment: str, of: str, comparison: str, one: Finding, **facts: Any
) -> Finding:
    return {
        "id": f"{topic}: {of}", "topic": topic, "experiment": experiment, "compared": comparison,
        "of": of, **facts, **one,
    }  # fmt: skip


def _sizes(ask: Any, table: pd.DataFrame, models: pd.DataFrame) -> Iterator[Finding]:
    """Is the largest of a series of sizes sharper than the smallest?"""
    answers = ask(_change("size_pairs", "size"), table=table)
    comparison = "median max slope of the largest model over that of the smallest"
    for one in series.sizes(models[models["model"].isin(table["model"])])[0]:
        if (of := claims.size_name(one)) in answers:
            yield _named("size", "size", of, comparison, answers[of], models=one.models)


def _training(
    ask: Any, table: pd.DataFrame, models: pd.DataFrame, draw: claims.Draw
) -> Iterator[Finding]:
    """Is the last checkpoint sharper than the first, and an earlier one sharper than the last?"""
    test = _change("training_pairs", "training")
    comparison = "median max slope at the last checkpoint over that at the first"
    for of, one in ask(test, table=table).items():
        yield _named("training", "training", of, comparison, one)
    first = table[table["layer"] == table["layer"].min()]
    medians = first.groupby("model")[SLOPE].median()
    comparison = "median max slope at the sharpest checkpoint over that at the last"
    for name, points in claims.series(test, table, models).items():
        best = max(points, key=lambda point: medians[point[1]])
        if best != points[-1]:
            peak = claims.change_between(test, table, {name: [points[-1], best]}, draw)
            for answer in claims.with_outcomes(test, peak):
                one = _entry(test.model_dump(), answer, None)
                yield _named("peak", "training", name, comparison, one, model=best[1])


def _layers(ask: Any, table: pd.DataFrame) -> Iterator[Finding]:
    """Is the path smoother after the last write layer than after the first?"""
    test = _change("layers_pairs", "write layers", to=int(table["layer"].max()))
    comparison = "median max slope at the last write layer over that at the first"
    for of, one in ask(test, table=table).items():
        yield _named("layers", "layers", of, comparison, one)


def _twins(ask: Any, table: pd.DataFrame) -> Iterator[Finding]:
    """Is the path of a model with random weights all but straight?"""
    where = {"layer": int(table["layer"].min()), "read_site": "post_norm"}
    test = _cells(
        "sharpness", where, "median", interval=["ci_low", "ci_high"], models="random", below=LOW
    )
    for of, one in ask(test, table=table).items():
        yield _named(
            "twin", "sharpness", of, "median max slope of a model with random weights", one
        )


def _kinds(ask: Any, name: str, table: pd.DataFrame) -> Iterator[Finding]:
    """Does the barrier separate kinds of words better than the input's geometry does?

    It does if the difference is above 0, and larger than what swapping the two by kinds explains.
    """
    layer = int(table["layer"].min())
    for score in SCORES:
        where = {
            "layer": layer, "distance": "barrier", "against": "input", "labels": "kind",
            "score": score,
        }  # fmt: skip
        interval = ["ci_low", "ci_high"]
        differences = ask(
            _cells(name, where, "difference", interval=interval, above=0), table=table
        )
        chances = ask(_cells(name, where, "p", below=0.05), table=table)
        for of, one in differences.items():
            sure = of in chances and chances[of]["verdict"] == "below"
            judgement = one | {"verdict": one["verdict"] if sure else "open"}
            comparison = f"{score} of kinds by barrier less by input distance"
            experiment = name.removesuffix("_comparisons")
            facts = {"id": f"kinds: {experiment}, {of}, {score}", "score": score}
            yield (
                _named("kinds", experiment, of, comparison, judgement, p=chances[of]["value"])
                | facts
            )


def _robustness(table: pd.DataFrame) -> Iterator[Finding]:
    """Does a choice change the median max slope?"""
    for row in table[table["change"].notna()].to_dict("records"):
        low, high = row["change_low"], row["change_high"]
        verdict = "above" if low > 0 else "below" if high < 0 else "open"
        one = {"verdict": verdict, "pairs": row["pairs"], "value": row["change"], "low": low,
               "high": high, "threshold": 0, "claim": None}  # fmt: skip
        of = f"{row['model']}, {row['choice']} {row['value']}"
        comparison = "median max slope with the choice changed less that by default"
        facts = {"model": row["model"], "choice": row["choice"], "changed_to": row["value"]}
        yield _named("choice", "robustness", of, comparison, one, **facts)


def _directions(ask: Any, table: pd.DataFrame) -> Iterator[Finding]:
    """Does the output take longer to move in one way from an activation than in another?"""
    first = table[(table["layer"] == table["layer"].min()) & (table["distance"] == "post_norm")]
    keys = ["part", "comparison", "among"]
    for facts in first[keys].drop_duplicates().to_dict("records"):
        where = {"layer": int(first["layer"].iloc[0]), "distance": "post_norm", **facts}
        test = _cells(
            "directions_comparisons", where, "ratio", interval=["ci_low", "ci_high"], above=1
        )
        for of, one in ask(test, table=table).items():
            asked = f"{of}, {facts['comparison']}, {facts['among']}, {facts['part']}"
            comparison = "length at which the output has moved, one over the other"
            ways = {"ways" if key == "comparison" else key: facts[key] for key in keys}
            yield _named("directions", "directions", asked, comparison, one, model=of, **ways)


def _mixtures(ask: Any, table: pd.DataFrame) -> Iterator[Finding]:
    """Do mixtures of two directions need more length than on an ellipse through both?"""
    first = table[table["layer"] == table["layer"].min()]
    for facts in first[["part", "direction"]].drop_duplicates().to_dict("records"):
        where = {"layer": int(first["layer"].iloc[0]), **facts}
        test = _cells("mixing", where, "median", interval=["ci_low", "ci_high"], above=2)
        for of, one in ask(test, table=table).items():
            asked = f"{of}, {facts['direction']}, {facts['part']}"
            comparison = "exponent by which two directions add up"
            yield _named("mixing", "mixing", asked, comparison, one, model=of, **facts)


def series_of(tables: Tables, models: pd.DataFrame) -> dict[str, Any]:
    """The series that the text goes through: `sizes`, who is `left_out` of them, `checkpoints`."""
    content: dict[str, Any] = {"sizes": [], "left_out": {}, "checkpoints": {}}
    if "size_pairs" in tables:
        used = models[models["model"].isin(tables["size_pairs"]["model"])]
        size_series, content["left_out"] = series.sizes(used)
        content["sizes"] = [
            {"of": claims.size_name(one), "family": one.family, "varies": one.varies, "at": one.at,
             "alone": one.alone, "models": one.models}
            for one in size_series
        ]  # fmt: skip
    if "training_pairs" in tables:
        used = models[models["model"].isin(tables["training_pairs"]["model"])]
        content["checkpoints"] = series.checkpoints(used)
    return content
