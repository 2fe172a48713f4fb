"""The judgements that the paper's text makes are the ledger's, and else by the ledger's rule."""

import re

import numpy as np
import pandas as pd
import pytest

from stable_regions.paper import claims, findings
from stable_regions.paper.ledger import Claim, load_ledger
from tests.tiny_study import ROOT

CLAIMS = load_ledger(ROOT / "paper" / "claims.yaml", Claim)
PAIRS = 60


def models_of(*refs: str, source: str = "hub") -> pd.DataFrame:
    """Models `name@tokens` of one family, each deeper than the one before."""
    rows = [
        {"model": ref, "name": ref.partition("@")[0], "family": "f", "source": source,
         "layers": depth, "hidden_size": 8, "parameters": 100 * depth, "step": None,
         "tokens": float(ref.partition("@")[2] or "nan")}
        for depth, ref in enumerate(refs, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def slopes_of(levels: dict[tuple[str, int], float], noise: float = 2.0) -> pd.DataFrame:
    """Max slopes of the same pairs: what a pair adds is the same for all models."""
    added = np.random.default_rng(0).normal(0, noise, PAIRS)
    rows = [
        {"model": model, "layer": layer, "pair": pair, "prompt_a": 2 * pair,
         "prompt_b": 2 * pair + 1, "max_slope_post_norm": level + added[pair]}
        for (model, layer), level in levels.items() for pair in range(PAIRS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def judged(tables: dict, models: pd.DataFrame, ledger: tuple = ()) -> dict[str, str]:
    made = findings.findings(tables, ledger, models, resamples=200, seed=0)
    assert len({one["id"] for one in made}) == len(made)
    return {one["id"]: one["verdict"] for one in made}


def checked(tables: dict, models: pd.DataFrame, name: str) -> dict:
    return claims.check(CLAIMS[name], tables, {}, models, resamples=200, seed=0)


def intervals_overlap(table: pd.DataFrame, a: str, b: str) -> bool:
    draw = claims.block_bootstrap
    ends = [
        claims.interval(
            draw(table.loc[table["model"] == ref, "max_slope_post_norm"].to_numpy(), block=1,
                 resamples=200, seed=0)
        )
        for ref in (a, b)
    ]  # fmt: skip
    return ends[0][1] > ends[1][0]


def test_sizes_are_judged_on_the_same_pairs_as_the_claim_does() -> None:
    """Intervals that overlap leave nothing open where all pairs are sharper on the larger."""
    tables = {"size_pairs": slopes_of({("small", 0): 9.0, ("large", 0): 9.3})}
    models = models_of("small", "large")
    assert intervals_overlap(tables["size_pairs"], "small", "large")
    ledger = checked(tables, models, "sharpen-size")
    [estimate] = ledger["tests"][0]["estimates"]
    assert estimate["outcome"] == "holds"
    for entries in ([], [ledger]):
        assert judged(tables, models, entries) == {"size: f: depth, at width 8": "above"}


def test_the_ledgers_outcome_is_taken_over() -> None:
    """An estimate that is open by the ledger's threshold is open in the text."""
    tables = {"size_pairs": slopes_of({("small", 0): 9.0, ("large", 0): 9.3})}
    models = models_of("small", "large")
    ledger = checked(tables, models, "sharpen-size")
    [estimate] = ledger["tests"][0]["estimates"]
    ledger["tests"][0]["above"], estimate["outcome"] = estimate["value"], "open"
    [one] = findings.findings(tables, [ledger], models, resamples=200, seed=0)
    assert (one["verdict"], one["claim"]) == ("open", "sharpen-size")
    assert one["threshold"] == estimate["value"]


@pytest.mark.parametrize(("last", "verdict"), [(12.0, "above"), (6.0, "below"), (9.001, "open")])
def test_training_is_judged_from_first_to_last(last: float, verdict: str) -> None:
    noisy = slopes_of({("m@0", 0): 9.0}), slopes_of({("m@9", 0): last})
    noisy[1]["max_slope_post_norm"] = noisy[1]["max_slope_post_norm"].sample(
        frac=1, random_state=1
    ).to_numpy()  # fmt: skip
    tables = {"training_pairs": pd.concat(noisy)}
    models = models_of("m@9", "m@0")
    assert judged(tables, models)["training: m"] == verdict
    ledger = [checked(tables, models, "sharpen-training")]
    assert judged(tables, models, ledger)["training: m"] == verdict


def test_a_peak_before_the_last_checkpoint_is_named() -> None:
    models = models_of("m@0", "m@5", "m@9")
    tables = {"training_pairs": slopes_of({("m@0", 0): 5, ("m@5", 0): 12, ("m@9", 0): 9})}
    [_, peak] = findings.findings(tables, [], models, resamples=200, seed=0)
    assert (peak["id"], peak["model"], peak["verdict"]) == ("peak: m", "m@5", "above")
    rising = {"training_pairs": slopes_of({("m@0", 0): 5, ("m@5", 0): 8, ("m@9", 0): 9})}
    assert list(judged(rising, models)) == ["training: m"]


def test_write_layers_are_judged_by_the_claim_that_goes_to_the_last() -> None:
    tables = {"layers_pairs": slopes_of({("m", 0): 9, ("m", 3): 8, ("m", 6): 5})}
    tables["layers"] = pd.DataFrame(
        {"model": ["m"], "layer": 6, "read_site": "post_norm", "pairs": 9, "median": 5,
         "ci_low": 4, "ci_high": 6}
    )  # fmt: skip
    models = models_of("m")
    ledger = [checked(tables, models, "later-layers")]
    [one] = findings.findings(tables, ledger, models, resamples=200, seed=0)
    assert (one["id"], one["verdict"], one["claim"]) == ("layers: m", "below", "later-layers")
    [own] = findings.findings(tables, [], models, resamples=200, seed=0)
    assert (own["verdict"], own["claim"]) == ("below", None)
    assert (own["value"], own["low"]) == (one["value"], one["low"])


@pytest.mark.parametrize(("high", "verdict"), [(1.1, "below"), (1.3, "open")])
def test_a_twin_is_judged_by_the_paper_s_cut(high: float, verdict: str) -> None:
    table = pd.DataFrame(
        {"model": ["twin"], "layer": 0, "read_site": "post_norm", "pairs": 9, "median": 1.05,
         "ci_low": 1.0, "ci_high": high}
    )  # fmt: skip
    assert judged({"sharpness": table}, models_of("twin", source="random")) == {
        "twin: twin": verdict
    }


@pytest.mark.parametrize(
    ("low", "p", "verdict"), [(0.01, 0.01, "above"), (-0.01, 0.01, "open"), (0.01, 0.3, "open")]
)
def test_kinds_need_an_interval_above_0_and_a_small_p(low: float, p: float, verdict: str) -> None:
    """The two tests of the claim, so that the text does not go beyond it."""
    table = pd.DataFrame(
        {"model": ["m"] * 2, "layer": 0, "distance": "barrier", "against": "input",
         "labels": "kind", "score": ["neighbours", "ari"], "difference": 0.1, "ci_low": low,
         "ci_high": 0.2, "p": p}
    )  # fmt: skip
    tables, models = {"words_comparisons": table}, models_of("m")
    ledger = checked(tables, models, "clusters")
    for entries in ([], [ledger]):
        assert judged(tables, models, entries) == {
            "kinds: words, m, neighbours": verdict, "kinds: words, m, ari": verdict,
        }  # fmt: skip
    assert (ledger["verdict"] == "replicated") == (verdict == "above")


def test_a_choice_changes_the_slope_if_its_whole_interval_is_beyond_0() -> None:
    table = pd.DataFrame(
        {"model": "m", "choice": ["default", "steps", "steps", "dtype"],
         "value": ["default", "25", "100", "float64"], "pairs": 9, "change": [np.nan, -1, 1, 0],
         "change_low": [np.nan, -2, 0.001, -1], "change_high": [np.nan, -0.001, 2, 1]}
    )  # fmt: skip
    assert judged({"robustness": table}, models_of("m")) == {
        "choice: m, steps 25": "below", "choice: m, steps 100": "above",
        "choice: m, dtype float64": "open",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.01, 1.4, "above"), (0.6, 0.99, "below"), (0.9, 1.1, "open"), (np.nan, np.nan, "open")],
)
def test_a_way_is_longer_than_another_if_the_whole_interval_is_above_1(
    low: float, high: float, verdict: str
) -> None:
    table = pd.DataFrame(
        {"model": "m", "layer": [0, 0, 5], "distance": ["post_norm", "jensen_shannon", "post_norm"],
         "part": "tenth", "comparison": "real over random", "among": "isotropic", "bases": 9,
         "ratio": 1.0, "ci_low": low, "ci_high": high}
    )  # fmt: skip
    assert judged({"directions_comparisons": table}, models_of("m")) == {
        "directions: m, real over random, isotropic, tenth": verdict
    }


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(2.01, 3, "above"), (1.2, 1.99, "below"), (1.9, 2.1, "open")]
)
def test_an_exponent_is_beyond_that_of_an_ellipse_if_its_whole_interval_is(
    low: float, high: float, verdict: str
) -> None:
    table = pd.DataFrame(
        {"model": "m", "layer": [0, 5], "direction": "contrastive", "part": "half",
         "bases": 9, "median": 2.0, "ci_low": low, "ci_high": high}
    )  # fmt: skip
    tables, models = {"mixing": table}, models_of("m")
    for entries in ([], [checked(tables, models, "pure-directions")]):
        assert judged(tables, models, entries) == {"mixing: m, contrastive, half": verdict}


ENDS = r"(ci_low|ci_high|change_low|change_high|q25|q75|chance_low|chance_high)"
COMPARED = re.compile(rf"{ENDS}\)?\s*[<>]|(<|(?<!=)>)=?\s*[\w.(-]*\.{ENDS}")


@pytest.mark.parametrize("path", sorted((ROOT / "paper").rglob("*.typ")), ids=lambda p: p.stem)
def test_the_text_compares_no_intervals(path) -> None:
    assert COMPARED.findall(path.read_text()) == []


@pytest.mark.parametrize("line", ["b.ci_low > a.ci_high", "if 0 <= r.change_low", "row.q75 < x"])
def test_comparisons_of_intervals_are_found(line: str) -> None:
    assert COMPARED.search(line)
