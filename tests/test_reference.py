"""What a comparison with a reference allows follows from what a number is, and its machine."""

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stable_regions.audit import reference
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_json, sha256, write_json, write_parquet
from tests.tiny_study import ROOT

INTEL, AMD = (
    [{"processor": name, "system": "Linux"}] for name in ("Intel(R) Xeon(R) Processor", "AMD EPYC")
)
SLOPE, GATES, SCORE, TOKENS, TRAINED = (
    "sharpness/m/0/post_norm", "polytopes_gates/m/0/mismatch/26",
    "words_scores/m/0/barrier/kind/ari",
    "planes/m/0/post_norm/top_tokens", "training/suite@step8/0/post_norm",
)  # fmt: skip
NEAR, BUNCHING = "sharpness_groups/m/0/differs/context/max_slope", "polytopes_bunching/m/0/gates"
DIGEST: dict[str, Any] = {
    "kinds": {
        "sharpness": "interpolation", "training": "interpolation", "polytopes": "polytopes",
        "words": "pairwise", "planes": "plane",
    },
    "machines": INTEL,
    "versions": [{"torch": "2"}],
    "weights": {"m": {"model.safetensors": "0"}, "suite@step8": {"model.safetensors": "1"}},
    "data": {"a.parquet": "0"},
    "estimates": {
        SLOPE: [3.9, 3.8, 4.0], GATES: [137.0, 130.0, 144.0], SCORE: [0.58, 0.47, 0.7],
        TOKENS: [12.0, 10.0, 14.0], TRAINED: [2.0, 1.9, 2.1], NEAR: [1.1, 1.0, 1.2],
        BUNCHING: [2.0, 1.9, 2.1],
    },
    "claims": {
        "gates": {
            "verdict": "replicated", "models": ["m"], "also": {},
            "estimates": {"gates, m": [473.0] * 3},
            "natures": {"gates, m": "count"},
        }
    },
}  # fmt: skip


def run(on: list[Any] = AMD, **estimates: float) -> dict[str, Any]:
    """A run with other bytes, and some estimates moved."""
    current = copy.deepcopy(DIGEST) | {"machines": on, "data": {"a.parquet": "1"}}
    for name, by in estimates.items():
        current["estimates"][name][0] += by
    return current


def test_what_a_digest_holds(tmp_path: Path) -> None:
    facts = {
        "engine": "fused", "model": "m", "machine": INTEL[0], "versions": {"torch": "2"},
        "files": {"model.safetensors": "0", "config.json": "1"},
    }  # fmt: skip
    table = pd.DataFrame({"x": [1]})
    for name in ("a.parquet", "sub/b.parquet", "sub/.hidden.parquet"):
        write_parquet(tmp_path / name, table, facts)
    write_parquet(tmp_path / "prompts.parquet", table, {"model": "m"})  # of no engine
    table.to_csv(tmp_path / "t.csv")
    row = {"value": 0.123456789, "ci_low": 0.1, "ci_high": 0.2}
    write_json(tmp_path / "numbers.json", {
        "study": {"name": "s"}, "experiments": {"sharpness": {"kind": "interpolation"}},
        "tables": {"sharpness": {"m": row, "n": row | {"ci_low": None, "ci_high": None}}},
    })  # fmt: skip
    estimates = [{"of": "m", **dict.fromkeys(("value", "low", "high"), 2.0)},
                 {"of": "n", "value": 1.0, "low": None, "high": None}]  # fmt: skip
    claim = {
        "id": "c", "verdict": "partly", "models": ["m"], "also": [{"what": "w", "outcome": "o"}],
        "tests": [{"estimand": "e", "estimates": estimates}],
    }  # fmt: skip
    write_json(tmp_path / "claims.json", [claim])
    digest = reference.digest(tmp_path)
    assert digest == {
        "study": "s", "kinds": {"sharpness": "interpolation"}, "machines": INTEL,
        "versions": [{"torch": "2"}], "weights": {"m": {"model.safetensors": "0"}},
        "data": {
            name: sha256(tmp_path / name)
            for name in ("a.parquet", "prompts.parquet", "sub/b.parquet", "t.csv")
        },
        "estimates": {"sharpness/m": [0.123457, 0.1, 0.2]},
        "claims": {
            "c": {
                "verdict": "partly", "models": ["m"], "natures": {}, "also": {"w": "o"},
                "estimates": {"e, m": [2.0] * 3},
            }
        },
    }  # fmt: skip
    (tmp_path / "claims.json").unlink()
    with pytest.raises(UserError, match="claims.json: missing: finish the study first"):
        reference.digest(tmp_path)


@pytest.mark.parametrize(
    ("name", "by", "same"),
    [
        (SLOPE, 0.003, True), (SLOPE, 0.005, False),  # a thousandth of 3.9
        (GATES, -0.5, True), (GATES, 1.0, True), (GATES, 1.5, False),  # one count
        (TOKENS, 1.0, True), (TOKENS, 2.0, False),
        (SCORE, 0.1, True),  # the intervals are the same
        (NEAR, 0.01, True), (NEAR, 0.02, False), (BUNCHING, 0.02, True), (BUNCHING, 0.03, False),
    ],
)  # fmt: skip
def test_what_another_processor_may_move_a_number_by(name: str, by: float, same: bool) -> None:
    result = reference.compare(DIGEST, run(**{name: by}))
    assert (result["differences"] == []) == same
    moved = same and name != SLOPE
    assert [line.partition(":")[0] for line in result["moved"]] == [name] * moved
    assert ("moved as rounding can move them" in result["line"]) == moved
    assert result["line"].startswith(
        "the same within tolerance: " if same else "the same verdicts on all 1 claims; 1 of the"
    )
    if name != SLOPE:  # the same processor gives the same counts and clusters
        assert len(reference.compare(DIGEST, run(INTEL, **{name: by}))["differences"]) == 1


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("sharpness_groups/m/0/differs/context/max_slope", "quotient"),
        ("sharpness_groups/m/0/differs/context/distance", "real"),
        ("sharpness_groups/m/0/max slope/high/max_slope", "real"),
        ("sharpness_groups/m/0/max slope/all/low", "real"),
        ("polytopes_bunching/m/0/post_norm/output", "real"),
        ("polytopes_pairs/0/bunching", "quotient"),
        ("polytopes_comparison/m/0/post_norm/speed > 2/density", "quotient"),
        ("polytopes_comparison/m/0/post_norm/speed > 2/movement", "real"),
        ("polytopes_comparison/m/0/post_norm/speed > 2/per_region", "count"),
        ("words_states/m/0/ari", "clustering"),
        ("words_grids/m/0/barrier/6", "real"),
        ("another/m/0", "real"),
    ],
)
def test_what_a_number_is(words: str, what: str) -> None:
    assert reference.nature(words.split("/"), DIGEST["kinds"]) == what


def test_a_claims_number_is_what_its_test_names() -> None:
    claim = {
        "tests": [
            {"estimand": "e", "table": "polytopes_comparison", "value": "median",
             "where": {"layer": 0, "definition": ["speed > 2"], "measure": measure},
             "estimates": [{"of": measure}]}
            for measure in ("density", "movement", "per_region")
        ] + [{"estimand": "e", "value": "bunching", "table": "polytopes_pairs",
              "estimates": [{"of": "pairs"}]},
             {"estimand": "e", "raw": "sharpness", "estimates": [{"of": "raw"}]},
             {"estimand": "of two", "table": "polytopes_comparison", "value": "median",
              "where": {"measure": ["density", "per_region"]},
              "estimates": [{"of": "m, density"}, {"of": "m, per_region"}]}]
    }  # fmt: skip
    assert reference._natures(claim, DIGEST["kinds"]) == {
        "e, density": "quotient", "e, per_region": "count", "e, pairs": "quotient",
        "of two, m, density": "quotient", "of two, m, per_region": "count",
    }  # fmt: skip


def test_references_that_lie_side_by_side_are_the_same_as_far_as_they_can_be() -> None:
    first, *others = sorted((ROOT / "reference").glob("embedded*.json"), key=lambda p: len(p.name))
    assert others
    for other in others:
        result = reference.compare(read_json(first), read_json(other))
        assert result["differences"] == [], result["line"]


def test_scores_whose_intervals_are_apart_are_different() -> None:
    current = run()
    for apart in ([0.8, 0.75, 0.9], [0.4, 0.3, 0.45]):  # of [0.47, 0.7]
        current["estimates"][SCORE] = apart
        assert len(reference.compare(DIGEST, current)["differences"]) == 1
    for overlapping in ([0.75, 0.69, 0.9], [0.4, 0.3, 0.48]):
        current["estimates"][SCORE] = overlapping
        assert reference.compare(DIGEST, current)["differences"] == []


def test_a_model_that_was_trained_elsewhere_is_another_draw() -> None:
    current = run(**{TRAINED: 0.05})
    assert len(reference.compare(DIGEST, current)["differences"]) == 1
    current["weights"]["suite@step8"] = {"model.safetensors": "2"}
    assert reference.compare(DIGEST, current)["differences"] == []
    assert reference.compare(DIGEST, current)["moved"] == []


def test_a_claims_estimate_is_a_count_where_its_table_holds_counts() -> None:
    current = run()
    current["claims"]["gates"]["estimates"]["gates, m"] = [474.0] * 3
    assert reference.compare(DIGEST, current)["differences"] == []
    current["claims"]["gates"]["estimates"]["gates, m"] = [476.0] * 3
    assert len(reference.compare(DIGEST, current)["differences"]) == 1
    claim = {
        "tests": [
            {"estimand": "gates", "table": "polytopes_comparison", "estimates": [{"of": "m"}]},
            {"estimand": "slope", "table": "sharpness", "estimates": [{"of": "m"}]},
            {"estimand": "rest", "raw": "sharpness", "estimates": [{"of": "m"}]},
        ]
    }
    assert reference._natures(claim, DIGEST["kinds"]) == {"gates, m": "count"}


def test_what_another_processor_explains_is_not_said_of_identical_bytes() -> None:
    same = DIGEST | {"machines": AMD}
    assert reference.compare(DIGEST, same)["line"] == (
        "identical bytes: 1 raw outputs and tables, and with them 7 estimates and 1 claims"
    )
    assert "this is AMD EPYC, the reference is of Intel" in reference.compare(DIGEST, run())["line"]
    newer = run(INTEL) | {"versions": [{"torch": "3"}]}
    assert "other versions of packages" in reference.compare(DIGEST, newer)["line"]


def test_another_verdict_comes_before_all_else() -> None:
    current = run(**{SLOPE: 1.0})
    current["claims"]["gates"]["verdict"] = "partly"
    line = reference.compare(DIGEST, current)["line"]
    assert line.startswith("DIFFERENT in 1 of 1 verdicts: claim gates: partly, and replicated")


def test_references_of_two_makes_of_processor_lie_side_by_side(tmp_path: Path) -> None:
    first = tmp_path / "mine.json"
    assert reference.place_of(first, DIGEST) == first
    write_json(first, DIGEST)
    assert reference.place_of(first, DIGEST) == first
    other = DIGEST | {"machines": AMD}
    assert reference.place_of(first, other) == tmp_path / "mine.amd-epyc.json"
    assert reference.slug(INTEL) == "intel-xeon-processor"
    assert reference.nearest([DIGEST, other], run(AMD)) is other
    third = [{"processor": None, "system": "Darwin"}]
    assert reference.nearest([DIGEST, other], run(third)) is DIGEST
