"""Which models of a study are in a series of sizes or of checkpoints, and which are left out."""

import pandas as pd
import pytest

from stable_regions.explorer import pack as explorer
from stable_regions.figures import fig4
from stable_regions.paper import claims, findings
from stable_regions.paper.series import checkpoints, sizes


def models_of(*shapes: tuple[str, int, int], **columns: object) -> pd.DataFrame:
    """Models of one family by name, layers and width."""
    table = pd.DataFrame(shapes, columns=["model", "layers", "hidden_size"])
    table["parameters"] = 12 * table["layers"] * table["hidden_size"] ** 2
    facts = {"name": table["model"].str.split("@").str[0], "family": "f", "source": "hub"}
    return table.assign(**facts | {"tokens": None} | columns)


def listed(models: pd.DataFrame) -> dict[tuple, list[str]]:
    return {(one.family, one.varies, one.at): one.models for one in sizes(models)[0]}


# Depth varies at one width and width at one depth, and neither takes in the largest.
MIXED = models_of(("a", 4, 64), ("b", 8, 64), ("c", 8, 128), ("d", 16, 256))
SUITE = models_of(("d16", 16, 64), ("d4", 4, 64), ("d8", 8, 64), ("w32", 8, 32), ("w128", 8, 128))


def test_a_family_that_changes_one_thing_at_a_time_has_a_series_of_each() -> None:
    assert listed(SUITE) == {
        ("f", "depth", 64): ["d4", "d8", "d16"], ("f", "width", 8): ["w32", "d8", "w128"],
    }  # fmt: skip
    assert [one.title for one in sizes(SUITE)[0]] == ["f, width 64", "f, 8 layers"]


def test_another_family_is_one_series_by_parameters() -> None:
    assert listed(MIXED) == {("f", "parameters", None): ["a", "b", "c", "d"]}
    assert [one.title for one in sizes(MIXED)[0]] == ["f"]


def test_a_family_of_one_model_is_a_series_of_one() -> None:
    assert listed(models_of(("only", 4, 64))) == {("f", "parameters", None): ["only"]}


def test_families_begin_with_the_smallest_models() -> None:
    both = models_of(("large", 8, 64), ("small", 4, 64), family=["g", "f"])
    assert [one.family for one in sizes(both)[0]] == ["f", "g"]


def test_random_twins_are_a_family_of_their_own() -> None:
    twins = models_of(("a", 4, 64), ("a-random", 4, 64), ("b", 8, 64)).assign(
        source=["hub", "random", "hub"]
    )
    assert listed(twins) == {
        ("f", "depth", 64): ["a", "b"], ("f (random weights)", "parameters", None): ["a-random"],
    }  # fmt: skip
    named = twins.assign(family=["f", "f (random weights)", "f"])
    assert listed(named) == listed(twins)


def test_the_last_checkpoint_stands_for_a_model() -> None:
    refs = ("a@step9", 4, 64), ("a@step0", 4, 64), ("b@main", 8, 64), ("b@step5", 8, 64)
    models = models_of(*refs, tokens=[9, 0, None, 5])
    result, left_out = sizes(models)
    assert [one.models for one in result] == [["a@step9", "b@main"]]
    assert left_out == {
        "a@step0": "an earlier checkpoint of a", "b@step5": "an earlier checkpoint of b",
    }  # fmt: skip
    assert checkpoints(models) == {"a": ["a@step0", "a@step9"], "b": ["b@step5"]}


def test_of_models_of_one_size_the_study_s_first_is_in_the_series() -> None:
    shapes = models_of(("g2", 4, 64), ("g2-bos", 4, 64), ("g9-bos", 8, 64), ("g9", 8, 64))
    result, left_out = sizes(shapes)
    assert [one.models for one in result] == [["g2", "g9-bos"]]
    assert left_out == {
        "g2-bos": "as deep and as wide as g2",
        "g9": "as deep and as wide as g9-bos",
    }
    even = models_of(("deep", 16, 32), ("wide", 4, 64), ("large", 9, 99))
    result, left_out = sizes(even)
    assert [one.models for one in result] == [["deep", "large"]]
    assert left_out == {"wide": "as many parameters as deep"}


@pytest.mark.parametrize("models", [MIXED, SUITE])
@pytest.mark.parametrize("order", [1, -1])
def test_every_model_is_in_a_series_or_named_as_left_out(models: pd.DataFrame, order: int) -> None:
    result, left_out = sizes(models[::order])
    assert {ref for one in result for ref in one.models} | set(left_out) == set(models["model"])


def tables(models: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What the size experiment gives: the larger the sharper, on the same pairs."""
    sharp = models[["model", "parameters"]].assign(
        layer=0, read_site="post_norm", pairs=3, median=models["parameters"], q25=1.0, q75=9.0,
        ci_low=1.0, ci_high=9.0,
    )  # fmt: skip
    curves = sharp.assign(alpha=0.0)
    pairs = models[["model", "parameters"]].merge(pd.DataFrame({"pair": range(3)}), how="cross")
    pairs = pairs.assign(
        layer=0, prompt_a=2 * pairs["pair"], prompt_b=2 * pairs["pair"] + 1,
        max_slope_post_norm=pairs["parameters"] + pairs["pair"],
    )  # fmt: skip
    return {"size": sharp, "size_curves": curves, "size_pairs": pairs}


@pytest.mark.parametrize("models", [MIXED, SUITE], ids=["mixed", "suite"])
def test_claim_figure_page_and_paper_have_the_same_series(models: pd.DataFrame) -> None:
    known_tables = tables(models)
    expected = [one.models for one in sizes(models)[0]]
    test = claims.Change.model_construct(series="size")
    points = claims.series(test, known_tables["size_pairs"], models)
    assert [[model for _, model, _ in place] for place in points.values()] == expected
    data, _ = fig4.draw(known_tables["size"], known_tables["size_curves"], models)
    last = data[data["panel"] == data["panel"].max()]
    drawn = {name: list(part["model"]) for name, part in last.groupby("series", sort=False)}
    assert sorted(drawn.values()) == sorted(expected)
    page = explorer.series({"size": (known_tables["size"], known_tables["size_curves"])}, models)
    shown = {one["title"]: [m["model"] for m in one["members"]] for one in page}
    assert {name: refs for name, refs in shown.items() if name != "all models"} == drawn
    series_sizes = findings.series_of(known_tables, models)["sizes"]
    assert [one["models"] for one in series_sizes] == expected
    judged = findings.findings(known_tables, [], models, resamples=20, seed=0)
    assert [(one["of"], one["verdict"]) for one in judged] == [
        (one["of"], "above") for one in series_sizes
    ]
