"""Claims on made-up data where the answer is known, both ways; the ledgers and their mistakes."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binomtest

from stable_regions.base.errors import UserError
from stable_regions.experiments.directions import tables as direction_tables
from stable_regions.experiments.directions.settings import DIRECTIONS
from stable_regions.experiments.interpolation import predictions as meaning
from stable_regions.experiments.interpolation import tables as summaries
from stable_regions.experiments.mixing import tables as mixing_tables
from stable_regions.experiments.polytopes import tables as polytope_tables
from stable_regions.experiments.robustness import tables as robustness
from stable_regions.measures import boundaries, conventions
from stable_regions.measures.conventions import EMBEDDING
from stable_regions.measures.levels import radii
from stable_regions.measures.paths import alphas
from stable_regions.paper import claims
from stable_regions.paper.deviations import tabulate
from stable_regions.paper.ledger import Claim, Deviation, Original, Trend, load_ledger
from tests.bad_input import refused
from tests.tiny_study import ROOT

CLAIMS = load_ledger(ROOT / "paper" / "claims.yaml", Claim)
DEVIATIONS = load_ledger(ROOT / "paper" / "deviations.yaml", Deviation)
SAMPLING = {"resamples": 100, "seed": 0}
STEPS = 50
SHARP, EVEN = 0.2, 0.95  # parts of the path in which the output makes all of its way
Data = tuple[dict[str, pd.DataFrame], dict[str, claims.Raw], pd.DataFrame]


# Made-up results


def paths(
    model: str = "m",
    width: float | list[float] = SHARP,
    *,
    pairs: int = 60,
    layer: int = 0,
    shares_token: bool | list[bool] = False,
    predicts: str = "with",
    base: float = 0.0,
) -> tuple[pd.DataFrame, dict]:
    """Paths on which the output makes its way within `width`: max slope about 1 / width.

    The prediction moves `with` the output, or `apart` from it, at the beginning, or `never`. A part
    `base` of the way is made at an even pace.
    """
    rng = np.random.default_rng(layer + len(model))
    grid = alphas(STEPS)
    widths = np.broadcast_to(width, pairs) * rng.uniform(0.9, 1.05, pairs)
    jump = np.array([np.interp(grid, [0.5 - w / 2, 0.5 + w / 2], [0, 1]) for w in widths])
    distance = 30 * (base * grid + (1 - base) * jump)
    early = np.broadcast_to(np.interp(grid, [0, 0.05], [0, 1]), jump.shape)
    moved = {"with": jump, "apart": early, "never": 0 * jump}[predicts]
    share = np.broadcast_to(shares_token, pairs)
    steps = np.abs(np.diff(distance, axis=1))
    table = pd.DataFrame(
        {
            "pair": [str(i) for i in range(pairs)],
            "prompt_a": range(pairs),
            "prompt_b": range(1, pairs + 1),
            "layer": layer,
            "tokens_a": [[1, i, 0] for i in range(pairs)],
            "tokens_b": [[2, i, 0 if same else 1] for i, same in enumerate(share)],
            "input_distance": 1.0,
            "logit_difference": list(4 - 8 * moved),
            "jensen_shannon": list(moved**2),
            "jensen_shannon_step": list(np.diff(moved, axis=1) ** 2),
            "top_token": list((moved > 0.5).astype(int)),
        }
        | {f"distance_{site}": list(distance) for site in summaries.READ_SITES}
        | {f"step_{site}": list(steps) for site in summaries.READ_SITES}
    )
    return table, {"model": model, "parameters": 7, "alpha": list(grid)}


def joined(*parts: tuple[pd.DataFrame, dict]) -> tuple[pd.DataFrame, dict]:
    """Several parts of one model's raw output as one."""
    return pd.concat([table for table, _ in parts], ignore_index=True), parts[0][1]


def models(*refs: str, **facts: Any) -> pd.DataFrame:
    """The table of models; `d4-w64` has 4 layers of width 64, `@step5` is a checkpoint."""
    rows = []
    for ref in refs:
        name, _, revision = ref.partition("@")
        sizes = [int(part[1:]) for part in name.split("-")[-2:]] if "-w" in name else [4, 64]
        step = int(revision.removeprefix("step")) if revision else None
        rows.append(
            {"model": ref, "name": name, "family": "f", "layers": sizes[0],
             "hidden_size": sizes[1], "parameters": sizes[0] * sizes[1] ** 2,
             "source": "random" if name == "twin" else "train", "step": step,
             "tokens": None if step is None else 100 * step}
        )  # fmt: skip
    return pd.DataFrame(rows).assign(**facts)


def test_the_last_checkpoint_may_have_a_name_without_a_step() -> None:
    """As `main` on the hub: it has seen the most tokens."""
    table = models("m@step0", "m@step5", "m@step9", "n")
    table = table.replace({"model": {"m@step9": "m@main"}, "step": {9: np.nan}})
    assert claims.refs(table, "last") == {"m@main"}
    assert claims.refs(table, "untrained") == {"m@step0"}


def interpolated(
    experiment: str, *raw: tuple[pd.DataFrame, dict], facts: pd.DataFrame | None = None
) -> Data:
    """What a study has of an interpolation, as far as claims read it."""
    given = list(raw)
    make = {
        "": lambda: summaries.sharpness(given, **SAMPLING),
        "_pairs": lambda: summaries.pairs(given),
        "_slopes": lambda: meaning.slopes(given),
        "_groups": lambda: meaning.groups(meaning.slopes(given), **SAMPLING),
        "_predictions": lambda: meaning.predictions(given, **SAMPLING),
    }
    read = {test.source for claim in CLAIMS.values() for test in claim.tests}
    tables = {experiment + what: made() for what, made in make.items() if experiment + what in read}
    names = [meta["model"] for _, meta in raw]
    return tables, {experiment: given}, models(*names) if facts is None else facts


def training(*widths: float, name: str = "m") -> list[tuple[pd.DataFrame, dict]]:
    """Checkpoints 0, 1, 2, 4, ... of a model with these widths."""
    steps = [0, *(2**i for i in range(len(widths) - 1))]
    return [paths(f"{name}@step{s}", w) for s, w in zip(steps, widths, strict=True)]


def sizes(**widths: float) -> Data:
    return interpolated("size", *(paths(name.replace("_", "-"), w) for name, w in widths.items()))


def families(**widths: float) -> Data:
    """Models by family, and one of a family that the claim is not about."""
    known = {"phi": "Phi", "llama": "Llama", "gemma": "Gemma", "gemma_bos": "Gemma"}
    facts = models(*widths, "other").assign(family=[*(known[name] for name in widths), "Other"])
    facts["bos"] = facts["model"].str.endswith("_bos")
    facts.loc[facts["family"] != "Gemma", "layers"] = 5
    raw = [paths(name, width) for name, width in widths.items()]
    data = [
        interpolated(name, *raw, paths("other", 0.5), facts=facts)
        for name in ("sharpness", "gemma")
    ]
    return data[0][0] | data[1][0], data[0][1] | data[1][1], facts


def examples(dissimilar: list[float], similar: list[float]) -> Data:
    table, meta = paths(width=[*dissimilar, *similar], pairs=6)
    table["pair"] = ["D1", "D2", "D3", "S1", "S2", "S3"]
    return interpolated("examples", (table, meta))


def extremes(low: bool, high: bool, pairs: int = 40) -> Data:
    """As many pairs of low as of high max slope, which do or don't share their last token."""
    widths = [EVEN] * pairs + [0.05] * pairs
    shares = [low] * pairs + [high] * pairs
    return interpolated("meaning", paths(width=widths, pairs=2 * pairs, shares_token=shares))


def crossed(token: float, context: float) -> Data:
    """Pairs that differ in their last token alone, and in their context alone."""
    one, meta = paths(width=token)
    one["tokens_b"] = [[*a[:-1], 1] for a in one["tokens_a"]]
    other, _ = paths(width=context, shares_token=True)
    return interpolated("controls", (pd.concat([one, other], ignore_index=True), meta))


def polytopes(gates: int, width: float = SHARP) -> Data:
    table, meta = paths(width=width)
    changed = np.full((len(table), STEPS - 1), 2)
    table["mismatch"], table["passed"] = [[[3, gates]] * len(table)] * 2
    table["passed_by_step"] = table["passed_by_step_last"] = list(changed)  # type: ignore[assignment]
    raw = [(table, meta)]
    return {"polytopes_comparison": polytope_tables.comparison(raw, **SAMPLING)}, {}, models("m")


def bunched(experiment: str = "polytopes", **ratios: float) -> Data:
    """Paths of models on which gates turn so much more often in the boundary than elsewhere."""
    raw = []
    for name, ratio in ratios.items():
        ref = name.replace("_", "@")
        table, meta = paths(ref, 0.1)
        fast = polytope_tables.fastest(summaries.stacked(table["step_post_norm"]))
        rng = np.random.default_rng(0)
        changed = np.where(fast, ratio, 1) * rng.uniform(8, 12, (len(table), 1))
        table["mismatch"] = table["passed"] = [[3, 400]] * len(table)
        table["passed_by_step"] = table["passed_by_step_last"] = list(changed)
        raw.append((table, meta | {"model": ref}))
    tables = {
        f"{experiment}_comparison": polytope_tables.comparison(raw, **SAMPLING),
        f"{experiment}_pairs": polytope_tables.pairs(raw),
    }
    return tables, {}, models(*(meta["model"] for _, meta in raw))


def shapes(slerp: float, through: float) -> Data:
    """Paths of these shapes on which the output makes its way within so much of them."""
    parts = []
    widths = {("default", "default"): SHARP, ("path", "slerp"): slerp}
    for (choice, value), width in (widths | {("path", "through_activations"): through}).items():
        table, _ = paths(width=width)
        table = table[["pair", "prompt_a", "prompt_b"]].assign(choice=choice, value=value)
        distance = paths(width=width)[0]["distance_post_norm"]
        alpha = [alphas(STEPS)] * len(table)
        parts.append(table.assign(alpha=alpha, distance=distance, off_activations=0.1))
    raw = [(pd.concat(parts, ignore_index=True), {"model": "m"})]
    return {"robustness": robustness.effects(raw, **SAMPLING)}, {}, models("m")


def around(twin: dict[str, float] | None = None, **paces: float) -> Data:
    """How fast the output moves from activations by direction; from random points everywhere by 1.

    Of a model, and of one with random weights.
    """
    rng = np.random.default_rng(0)
    lengths = np.array([0, *np.geomspace(0.05, 2, 24)])
    usual = {"layer": 0, "input": 1.0, "post_norm": 1.0, "jensen_shannon": 1.0}
    raw = []
    for name, given in (("m", paces), ("twin", twin or {})):
        known = {("real", direction): pace for direction, pace in given.items()}
        rows = [
            {"prompt": i, "base": base, "direction": direction, "layer": 0}
            | dict.fromkeys(
                ("distance_post_norm", "distance_jensen_shannon"),
                lengths * rng.uniform(0.9, 1.1) * known.get((base, direction), 1),
            )
            for base in ("real", "random") for direction in DIRECTIONS for i in range(60)
        ]  # fmt: skip
        facts = {"model": name, "lengths": list(lengths), "usual": [usual]}
        raw.append((pd.DataFrame(rows), facts))
    made = direction_tables.comparisons(raw, **SAMPLING)
    return {"directions_comparisons": made}, {}, models("m", "twin")


def mixed(**powers: float) -> Data:
    """Outputs that have moved by one amount on curves of these exponents."""
    angles, lengths = np.linspace(0, 90, 9), np.array([0, *np.geomspace(0.05, 2, 24)])
    rows = [
        {"prompt": i, "direction": direction, "layer": 0, "angle": angle,
         "distance_post_norm": 0.5 * lengths / r}
        for direction, power in powers.items() for i in range(20)
        for angle, r in zip(angles, radii(np.radians(angles), 0.5, 0.7, power), strict=True)
    ]  # fmt: skip
    raw = [(pd.DataFrame(rows), {"model": "m", "lengths": list(lengths), "usual": 1.0})]
    made = mixing_tables.tabulate(raw, [], **SAMPLING)[""]
    return {"mixing": made}, {}, models("m")


IN_ORDER = {"isotropic": 0.3, "covariance": 0.6, "contrastive": 1.2}
REVERSED = {"isotropic": 1.2, "covariance": 0.6, "contrastive": 0.3}


def written(**widths: float) -> Data:
    """Paths written after layers 0, 3, 6, 10 of one model."""
    return interpolated(
        "layers", joined(*(paths(width=w, layer=int(name[1:])) for name, w in widths.items()))
    )


def clusters(difference: float, p: float) -> Data:
    rows = [
        ("barrier", "input", "kind", "ari", difference, p),
        ("barrier", "output", "kind", "ari", -difference, 0.9),
        ("barrier", "input", "part_of_speech", "ari", -difference, 0.9),
        ("barrier", "input", "kind", "neighbours", -difference, 0.9),
    ]
    columns = ["distance", "against", "labels", "score", "difference", "p"]
    table = pd.DataFrame(rows, columns=columns).assign(model="m", layer=0)
    table = table.assign(ci_low=table["difference"] - 0.1, ci_high=table["difference"] + 0.1)
    return {"words_comparisons": table}, {}, models("m")


def by_read_layer(rates: dict[str, float], split: float | None = 0.0) -> Data:
    """What `depth_tables` gives, made up: rates by model; boundaries that later layers add."""
    rows = [
        {"model": model, "layer": 0, "pairs": 90, "rate": rate, "ci_low": rate - 0.002,
         "ci_high": rate + 0.002, "split_pairs": 40, "split": split,
         "split_low": None if split is None else split - 0.1,
         "split_high": None if split is None else split + 0.1}
        for model, rate in rates.items()
    ]  # fmt: skip
    return {"layers_rates": pd.DataFrame(rows)}, {}, models(*rates)


def depths(**slopes: list[float]) -> Data:
    """Last checkpoints whose max slopes by read layer these are, and the table of models."""
    raw = []
    for name, by_layer in slopes.items():
        # of ten steps one takes so much of the way, and the others share the rest
        distance = [np.append(np.arange(10) * (1 - slope / 10) / 9, 1) for slope in by_layer]
        table = pd.DataFrame({"pair": [str(i) for i in range(12)]}).assign(
            prompt_a=range(0, 24, 2), prompt_b=range(1, 24, 2), layer=0,
            distance_reads=[np.concatenate(distance).tolist()] * 12,
        )  # fmt: skip
        raw.append((table, {"model": f"{name.replace('_', '-')}@step9", "alpha": [0.0] * 11}))
    facts = models(*(meta["model"] for _, meta in raw))
    return {}, {"depth": raw}, facts.assign(held_out_loss=np.arange(len(facts)) % 2 + 3.0)


SIZES = {"d4_w64": 4, "d8_w32": 8, "d8_w128": 8, "d12_w64": 12, "d16_w64": 16, "d24_w64": 24}
COUNTED = {name: list(1.05 ** np.arange(1, layers)) for name, layers in SIZES.items()}
SHARED = {name: list(3 ** (np.arange(1, layers) / (layers - 1))) for name, layers in SIZES.items()}


def frozen(mlps: float = 0.9, attention: float = 0.2, windows: Sequence[float] = ()) -> Data:
    """The parts of the sharpness that are gone with each kind of module frozen."""
    rows = [
        (what, at, "all", part)
        for what, part in (("nothing", 0.0), ("MLPs", mlps), ("attention", attention))
        for at in ("start", "mean")
    ]
    rows += [("MLPs", "start", str(n), part) for n, part in enumerate(windows, 1)]
    table = pd.DataFrame(rows, columns=["frozen", "held_at", "window", "removed"])
    table = table.assign(model="m", layer=0, read_site="post_norm", pairs=60)
    table = table.assign(removed_low=table["removed"] - 0.1, removed_high=table["removed"] + 0.1)
    return {"freezing": table}, {}, models("m")


# For each claim, data that have the effect, and data that don't, in the ways that matter.
REPLICATED, PARTLY, NOT = "replicated", "partly", "not replicated"
OPEN = "inconclusive"
CASES: dict[str, list[tuple[Callable[[], Data], str]]] = {
    "regions": [
        (lambda: interpolated("sharpness", paths(), paths("twin", EVEN)), REPLICATED),
        (lambda: interpolated("sharpness", paths(), paths("n", EVEN), paths("twin", EVEN)), PARTLY),
        (lambda: interpolated("sharpness", paths(width=EVEN), paths("twin", EVEN)), PARTLY),
        (lambda: interpolated("sharpness", paths(), paths("twin")), PARTLY),
    ],
    "rest": [
        (lambda: interpolated("sharpness", paths()), REPLICATED),
        (lambda: interpolated("sharpness", paths(), paths("n", EVEN)), PARTLY),
        (lambda: interpolated("sharpness", paths(width=EVEN)), NOT),
        # as sharp, but never still
        (lambda: interpolated("sharpness", paths(width=0.1, base=0.6)), NOT),
    ],
    "emerge": [
        (lambda: interpolated("training", *training(EVEN, 0.5, SHARP)), REPLICATED),
        (lambda: interpolated("training", *training(EVEN, EVEN, EVEN)), PARTLY),
        (lambda: interpolated("training", *training(SHARP, SHARP, SHARP)), PARTLY),
        (
            lambda: interpolated(
                "training", *training(EVEN, SHARP), *training(EVEN, EVEN, name="n")
            ),
            PARTLY,
        ),
    ],
    "sharpen-training": [
        (lambda: interpolated("training", *training(EVEN, 0.8, 0.6, 0.4, SHARP)), REPLICATED),
        (lambda: interpolated("training", *training(SHARP, 0.4, 0.6, 0.8, EVEN)), NOT),
        (lambda: interpolated("training", *training(*[0.4] * 5)), NOT),
        # sharp at once, and smoother ever after
        (lambda: interpolated("training", *training(EVEN, SHARP, 0.3, 0.4, 0.5)), PARTLY),
    ],
    "sharpen-size": [
        (lambda: sizes(d4_w64=0.6, d8_w64=0.4, d16_w64=SHARP), REPLICATED),
        (lambda: sizes(d4_w64=SHARP, d8_w64=0.4, d16_w64=0.6), NOT),
        (lambda: sizes(d4_w64=0.4, d8_w64=0.4, d16_w64=0.4), OPEN),
        # in depth, and not in width
        (
            lambda: sizes(d4_w64=0.6, d8_w64=0.4, d16_w64=SHARP, d8_w32=0.3, d8_w128=0.5),
            PARTLY,
        ),
    ],
    "other-families": [
        (lambda: families(phi=SHARP, llama=SHARP, gemma=EVEN), REPLICATED),
        (lambda: families(phi=EVEN, llama=EVEN, gemma=SHARP), NOT),
        (lambda: families(phi=EVEN, llama=SHARP, gemma=EVEN), PARTLY),
    ],
    "gemma": [
        (lambda: families(phi=SHARP, gemma=EVEN), REPLICATED),
        (lambda: families(phi=EVEN, gemma=SHARP), NOT),
        # an exception without a BOS token, and none with it
        (lambda: families(phi=SHARP, gemma=EVEN, gemma_bos=SHARP), PARTLY),
    ],
    "gemma-bos": [
        (lambda: families(phi=SHARP, gemma=0.5, gemma_bos=SHARP), REPLICATED),
        (lambda: families(phi=0.5, gemma=SHARP, gemma_bos=0.5), NOT),
        (lambda: families(gemma=SHARP, gemma_bos=SHARP), OPEN),
    ],
    "similar-dissimilar": [
        (lambda: examples([SHARP] * 3, [EVEN] * 3), REPLICATED),
        (lambda: examples([SHARP] * 3, [EVEN, SHARP, EVEN]), PARTLY),
        (lambda: examples([SHARP] * 3, [SHARP] * 3), PARTLY),
        (lambda: examples([EVEN] * 3, [EVEN] * 3), PARTLY),
        (lambda: examples([EVEN] * 3, [SHARP] * 3), NOT),
    ],
    "last-token": [
        (lambda: extremes(low=True, high=False), REPLICATED),
        (lambda: extremes(low=False, high=False), PARTLY),
        (lambda: extremes(low=True, high=True), PARTLY),
    ],
    "token-not-context": [
        (lambda: crossed(token=SHARP, context=EVEN), REPLICATED),
        (lambda: crossed(token=SHARP, context=SHARP), PARTLY),
        (lambda: crossed(token=EVEN, context=EVEN), PARTLY),
    ],
    "predictions-jump": [
        (lambda: interpolated("meaning", paths()), REPLICATED),
        (lambda: interpolated("meaning", paths(predicts="apart")), NOT),
    ],
    "predictions-differ": [
        (lambda: interpolated("meaning", paths()), REPLICATED),
        (lambda: interpolated("meaning", paths(predicts="never")), PARTLY),
        (lambda: interpolated("meaning", paths(predicts="apart")), PARTLY),
    ],
    "larger-than-polytopes": [
        (lambda: polytopes(gates=400), REPLICATED),
        (lambda: polytopes(gates=4), NOT),
    ],
    "gates-bunch": [
        (lambda: bunched(m=3, twin=1.2), REPLICATED),
        (lambda: bunched(m=3, twin=4), PARTLY),  # an effect of no training
        (lambda: bunched(m=0.5, twin=0.2), PARTLY),
        (lambda: bunched(m=0.5, twin=0.8), NOT),
    ],
    "gates-bunch-training": [
        (
            lambda: bunched(
                "polytopes-training", m_step0=1, m_step1=2, m_step2=3, m_step4=4, m_step8=5
            ),
            REPLICATED,
        ),
        (
            lambda: bunched(
                "polytopes-training", m_step0=5, m_step1=4, m_step2=3, m_step4=2, m_step8=1
            ),
            NOT,
        ),
        # up at once, and down ever after
        (
            lambda: bunched(
                "polytopes-training", m_step0=1, m_step1=5, m_step2=4, m_step4=3, m_step8=2
            ),
            PARTLY,
        ),
    ],
    "plateaus": [
        (lambda: around(isotropic=0.5, covariance=0.5), REPLICATED),
        (lambda: around(isotropic=0.5, covariance=1.5), PARTLY),
        (lambda: around({"isotropic": 0.5}, isotropic=0.5, covariance=0.5), PARTLY),
        (
            lambda: around({"isotropic": 0.5, "covariance": 0.5}, isotropic=1.5, covariance=1.5),
            NOT,
        ),
    ],
    "sensitive-directions": [
        (lambda: around(**IN_ORDER), REPLICATED),
        (lambda: around(IN_ORDER, **IN_ORDER), PARTLY),
        (lambda: around(**REVERSED), PARTLY),
        (lambda: around(IN_ORDER, **REVERSED), NOT),
    ],
    "pure-directions": [
        (lambda: mixed(contrastive=4, isotropic=2, principal=2), REPLICATED),
        (lambda: mixed(contrastive=4, isotropic=4, principal=2), PARTLY),
        (lambda: mixed(contrastive=1.5, isotropic=4, principal=4), NOT),
    ],
    "later-layers": [
        (lambda: written(l0=0.1, l6=0.25), REPLICATED),
        (lambda: written(l0=0.1, l6=EVEN), PARTLY),
        (lambda: written(l0=0.25, l6=0.1), PARTLY),
        (lambda: written(l0=SHARP, l6=SHARP), OPEN),
    ],
    "deeper-smoother": [
        (lambda: written(l0=0.1, l3=0.2, l6=0.4, l10=0.8), REPLICATED),
        (lambda: written(l0=0.8, l3=0.4, l6=0.2, l10=0.1), NOT),
        (lambda: written(l0=0.2, l3=0.4, l6=0.4, l10=0.2), NOT),
    ],
    "layer-by-layer": [
        (lambda: by_read_layer({"m": 0.05, "twin": 0.001}), REPLICATED),
        (lambda: by_read_layer({"m": 0.05, "twin": 0.05}), PARTLY),
        (lambda: by_read_layer({"m": 0.01, "twin": 0.001}), PARTLY),
        (lambda: by_read_layer({"m": 0.01, "twin": 0.05}), NOT),
    ],
    "sharpen-not-split": [
        (lambda: by_read_layer({"m": 0.05}, split=0.1), REPLICATED),
        (lambda: by_read_layer({"m": 0.05}, split=1.0), NOT),
        (lambda: by_read_layer({"m": 0.05}, split=0.5), OPEN),
    ],
    "counts-layers": [
        (lambda: depths(**COUNTED), REPLICATED),
        (lambda: depths(**SHARED), NOT),
    ],
    "mlps-sharpen": [
        (lambda: frozen(mlps=0.9, attention=0.2), REPLICATED),
        (lambda: frozen(mlps=0.3, attention=0.2), PARTLY),
        (lambda: frozen(mlps=0.9, attention=0.8), PARTLY),
        (lambda: frozen(mlps=0.2, attention=0.9), NOT),
    ],
    "built-over-depth": [
        (lambda: frozen(windows=[0.3, 0.8, 0.4, 0.2]), REPLICATED),
        (lambda: frozen(windows=[0.3, 0.8, -0.3, 0.2]), PARTLY),
        (lambda: frozen(windows=[0.3, 0.8, 0.05, 0.2]), OPEN),
        (lambda: frozen(windows=[-0.2, -0.3, -0.4, -0.2]), NOT),
    ],
    "embedding-smooth": [
        (lambda: interpolated("embedding", paths(width=EVEN, layer=EMBEDDING)), REPLICATED),
        (lambda: interpolated("embedding", paths(layer=EMBEDDING)), NOT),
    ],
    "clusters": [
        (lambda: clusters(0.5, p=0.001), REPLICATED),
        (lambda: clusters(0.5, p=0.2), PARTLY),
        (lambda: clusters(0.05, p=0.001), OPEN),
        (lambda: clusters(-0.5, p=0.001), PARTLY),
    ],
}


def output_states(ari: float, ratio: float) -> Data:
    rows = [("ari", ari, ari - 0.1, ari + 0.1), ("states per region", ratio, None, None)]
    table = pd.DataFrame(rows, columns=["measure", "value", "ci_low", "ci_high"])
    return {"clusters_states": table.assign(model="m", layer=0)}, {}, models("m")


CASES["states-are-regions"] = [
    (lambda: output_states(0.8, 1.2), REPLICATED),
    (lambda: output_states(0.8, 0.3), PARTLY),  # several regions lead to one state
    (lambda: output_states(0.1, 3), PARTLY),
    (lambda: output_states(0.45, 1), OPEN),
]
CASES["not-the-chord"] = [
    (lambda: shapes(slerp=SHARP, through=SHARP), REPLICATED),
    (lambda: shapes(slerp=SHARP, through=EVEN), PARTLY),
    (lambda: shapes(slerp=EVEN, through=EVEN), NOT),
]


def run(name: str, data: Data) -> dict[str, Any]:
    tables, raw, facts = data
    return claims.check(CLAIMS[name], tables, raw, facts, **SAMPLING)


@pytest.mark.parametrize(
    ("name", "data", "verdict"),
    [(name, data, verdict) for name, cases in CASES.items() for data, verdict in cases],
    ids=[
        f"{name}-{i}-{verdict}"
        for name, cases in CASES.items()
        for i, (_, verdict) in enumerate(cases)
    ],
)
def test_a_claim_holds_where_the_effect_is_and_nowhere_else(
    name: str, data: Callable[[], Data], verdict: str
) -> None:
    assert run(name, data())["verdict"] == verdict


def test_every_claim_is_tested_both_ways() -> None:
    assert set(CASES) == set(CLAIMS)
    for cases in CASES.values():
        verdicts = {verdict for _, verdict in cases}
        assert REPLICATED in verdicts
        assert verdicts & {NOT, PARTLY}


# The verdict, and what a study lacks


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([["holds", "holds"], ["holds"]], REPLICATED),
        ([["fails", "fails"]], NOT),
        ([["fails"], ["fails", "fails"]], NOT),
        ([["fails"], ["open"]], NOT),  # it says both, and one is not so
        ([["open"]], OPEN),
        ([["holds"], ["open"]], OPEN),
        ([["holds", "open"]], OPEN),
        ([["holds"], ["fails"]], PARTLY),  # one half everywhere, the other nowhere
        ([["holds", "fails"]], PARTLY),
        ([["holds", "fails"], ["fails"]], PARTLY),
        ([["holds", "fails"], ["open"]], PARTLY),
    ],
)
def test_a_verdict_says_what_is_known(outcomes: list[list[str]], verdict: str) -> None:
    assert claims.verdict(outcomes, []) == verdict
    assert claims.verdict(outcomes[::-1], []) == verdict
    assert claims.verdict(outcomes, ["more"]) == "not run: needs more"


def test_a_test_that_fails_somewhere_is_mixed_only_if_it_holds_elsewhere() -> None:
    states = {tuple(some): claims.state(list(some)) for some in (
        ("holds",), ("fails", "open"), ("open", "holds"), ("open", "holds", "fails"),
    )}  # fmt: skip
    assert list(states.values()) == ["holds", "fails", "open", "mixed"]


def share_of(ones: int, pairs: int) -> claims.Estimate:
    low, high = binomtest(ones, pairs).proportion_ci(method="wilson")
    return claims.Estimate("m", ["m"], pairs, ones / pairs, float(low), float(high))


@pytest.mark.parametrize(("ones", "threshold"), [(17, 0.84), (0, 0.16), (12, 0.5)])
def test_as_many_pairs_as_it_names_decide(ones: int, threshold: float) -> None:
    """Of the same share, by Wilson's interval; and half of them do not."""

    def decided(pairs: int) -> bool:
        more = share_of(round(pairs * ones / 17), pairs)
        return not more.low <= threshold <= more.high

    assert not decided(17)
    wanted = claims.pairs_to_decide(share_of(ones, 17), threshold)
    assert wanted is not None
    assert decided(wanted)
    assert not decided(wanted // 2)


def test_half_the_width_takes_four_times_the_pairs() -> None:
    estimate = claims.Estimate("m", ["m"], 10, 2.0, 1.0, 3.0)
    assert claims.pairs_to_decide(estimate, 1.5) == 41
    assert claims.pairs_to_decide(estimate, 2.25) == 161


def test_where_no_pairs_could_decide_none_are_named() -> None:
    at = claims.Estimate("m", ["m"], 20, 0.5, 0.3, 0.7)
    alone = claims.Estimate("m", ["m"], None, 1.9, 1.0, 2.1)
    assert claims.pairs_to_decide(at, 0.5) is None
    assert claims.pairs_to_decide(alone, 2) is None


def test_an_open_estimate_says_how_many_pairs_would_decide_it() -> None:
    """Few pairs above 10, none of which shares its last token: nothing speaks against the claim."""
    result = run("last-token", extremes(low=True, high=False, pairs=17))
    assert result["verdict"] == OPEN
    [low], [high] = [test["estimates"] for test in result["tests"]]
    assert (low["outcome"], low["pairs"]) == ("open", 17)
    assert 17 < low["pairs_to_decide"] < 30
    assert (high["outcome"], high["pairs"]) == ("open", 17)
    flat = claims.flat([{**result, "command": "", "cost": dict.fromkeys(
        ("points", "jobs", "training_tokens"), 0)}])  # fmt: skip
    assert flat["pairs_to_decide"].tolist() == [low["pairs_to_decide"], high["pairs_to_decide"]]


def test_what_else_a_claim_is_tried_on_counts_for_no_verdict() -> None:
    tables, raw, facts = CASES["regions"][0][0]()
    first, *rest = (one.what for one in CLAIMS["regions"].also)
    for widths, outcome in (
        ({"big": SHARP}, "holds"),
        ({"big": SHARP, "even": EVEN}, "1 of 2 hold"),
    ):
        size = summaries.sharpness(
            [paths(name, width) for name, width in widths.items()], **SAMPLING
        )
        known = pd.concat([facts, models(*widths)])
        result = claims.check(CLAIMS["regions"], tables | {"size": size}, raw, known, **SAMPLING)
        assert result["verdict"] == REPLICATED
        assert "big" not in result["models"]
        assert {one["what"]: one["outcome"] for one in result["also"]} == {
            first: outcome, **dict.fromkeys(rest, "not run"),
        }  # fmt: skip


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_ratio_without_a_value_is_no_estimate(first: float) -> None:
    """Where nothing was counted at the start of a series, or in most pairs, so that draws vary."""
    start = np.where(np.arange(40) < 22, 0.0, 1.0) if first else np.zeros(40)
    table = pd.concat(
        pd.DataFrame(
            {"model": f"m@{step}", "layer": 0, "pair": range(40), "prompt_a": range(0, 80, 2),
             "prompt_b": range(1, 80, 2), "max_slope_post_norm": values}
        ) for step, values in enumerate((start, np.ones(40)))
    )  # fmt: skip
    points = {"m": [(0, "m@0", 0), (1, "m@1", 0)]}
    [test] = CLAIMS["sharpen-size"].tests[:1]
    draw = partial(claims.block_bootstrap, **SAMPLING)
    assert claims.change_between(test, table, points, draw) == []


@pytest.mark.parametrize("counted", ["pairs", "bases"])
def test_an_estimate_without_an_interval_is_open(counted: str) -> None:
    """Of few bases, some of which never move, some draws have no ratio."""
    entry = {
        "test": "cells", "estimand": "ratio", "table": "directions_comparisons", "where": {},
        "value": "ratio", "interval": ["ci_low", "ci_high"], "above": 1, "models": "trained",
        "columns": ["model", counted, "ratio", "ci_low", "ci_high"], "reason": "As here.",
        "needs": "a model",
    }  # fmt: skip
    table = pd.DataFrame(
        {"model": ["m"], counted: 6, "ratio": 1.3, "ci_low": [np.nan], "ci_high": [np.nan]}
    )
    draw = partial(claims.block_bootstrap, **SAMPLING)
    [row] = claims.estimates(claims.Cells.model_validate(entry), table, models("m"), draw)
    assert row == {
        "of": "m", "models": ["m"], "pairs": 6, "value": 1.3, "low": None, "high": None,
        "outcome": "open", "pairs_to_decide": None, "original": None,
    }  # fmt: skip


def test_a_claim_without_its_experiment_is_not_run() -> None:
    result = claims.check(CLAIMS["last-token"], {}, {}, models("m"), **SAMPLING)
    assert result["verdict"] == "not run: needs meaning"
    assert [test["estimates"] for test in result["tests"]] == [[], []]


def test_a_claim_without_the_right_models_is_not_run() -> None:
    result = run("regions", interpolated("sharpness", paths()))
    assert result["verdict"] == "not run: needs a model with random weights in sharpness"
    assert result["tests"][0]["estimates"][0]["outcome"] == "holds"
    elsewhere = run("rest", interpolated("sharpness", paths(layer=3)))
    assert elsewhere["verdict"] == "not run: needs a trained model in sharpness"
    none = run("other-families", interpolated("sharpness", paths()))
    assert none["verdict"] == "not run: needs a model of these families in sharpness"
    only = run("later-layers", written(l0=SHARP, l3=SHARP))
    assert only["verdict"].startswith("not run: needs the first and the seventh write layer")


@pytest.mark.parametrize(
    ("low", "high", "message"), [(1.1, 2, "holds"), (1, 2, "open"), (0.5, 1, "fails")]
)
def test_an_estimate_holds_with_its_whole_interval(low: float, high: float, message: str) -> None:
    entry = CLAIMS["sharpen-size"].tests[0]
    assert entry.above == 1
    assert entry.outcome(low, high) == message
    turned = entry.model_copy(update={"above": None, "below": -1.0})
    assert turned.outcome(-high, -low) == message


def test_a_wider_interval_around_the_same_value_is_open() -> None:
    def message(pairs: int) -> str:
        widths = list(np.resize([EVEN, 0.47, SHARP], pairs))
        [test, _] = run("regions", interpolated("sharpness", paths(width=widths, pairs=pairs)))[
            "tests"
        ]
        return test["estimates"][0]["outcome"]

    assert (message(6), message(600)) == ("open", "holds")


def test_a_column_that_is_not_there_is_one_line() -> None:
    tables, raw, facts = interpolated("sharpness", paths())
    tables["sharpness"] = tables["sharpness"].drop(columns="ci_low")
    with pytest.raises(UserError, match="claim regions: sharpness .*'ci_low'"):
        claims.check(CLAIMS["regions"], tables, raw, facts, **SAMPLING)


def test_the_same_data_give_the_same_result_and_it_is_plain() -> None:
    data = interpolated("training", *training(EVEN, 0.8, 0.6, SHARP))
    first, again = (run("sharpen-training", data) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)


def test_the_table_has_a_row_an_estimate_and_one_where_there_is_none() -> None:
    result = [run("regions", interpolated("sharpness", paths(), paths("n")))]
    cost = {"points": 7, "jobs": 1, "training_tokens": 0}
    table = claims.flat([one | {"command": "c", "cost": cost} for one in result])
    assert table["of"].tolist()[:2] == ["m", "n"]
    assert table["outcome"].tolist()[:2] == ["holds", "holds"]
    assert table["estimate"].isna().tolist() == [False, False, True]
    assert set(table["verdict"]) == {"not run: needs a model with random weights in sharpness"}
    assert table["must_be"].tolist() == ["above", "above", "below"]


# Estimators


def estimates(name: str, test: int, data: Data) -> list[dict[str, Any]]:
    return run(name, data)["tests"][test]["estimates"]


def test_change_is_a_ratio_of_medians_and_trend_a_rank_correlation() -> None:
    data = interpolated("training", *training(0.8, 0.4, 0.2, 0.3))
    [change] = estimates("sharpen-training", 0, data)
    assert change["value"] == pytest.approx(8 / 3, rel=0.1)
    assert change["low"] < change["value"] < change["high"]
    assert (change["of"], change["pairs"]) == ("m", 60)
    [trend] = estimates("sharpen-training", 1, data)
    assert trend["value"] == pytest.approx(1 / 3)  # the first is left out


def test_change_resamples_the_same_pairs_at_both_ends() -> None:
    """What a pair has of its own cancels, as two unpaired medians would not let it."""
    rng = np.random.default_rng(1)
    own = rng.uniform(0.1, 0.9, 60)
    raw = []
    for step, part in ((0, 1.0), (1, 0.5)):
        table, meta = paths(f"m@step{step}")
        grid = alphas(STEPS)
        made = [np.interp(grid, [0.5 - w * part / 2, 0.5 + w * part / 2], [0, 1]) for w in own]
        raw.append((table.assign(distance_post_norm=made), meta))
    [change] = estimates("sharpen-training", 0, interpolated("training", *raw))
    assert change["value"] == pytest.approx(2, rel=0.05)
    assert change["high"] - change["low"] < 0.2


@pytest.mark.parametrize(
    ("x", "y", "tau"),
    [([1, 2, 3], [1, 5, 9], 1), ([1, 2, 3], [9, 5, 1], -1), ([1, 2, 3], [1, 9, 5], 1 / 3),
     ([1, 2, 3], [4, 4, 4], 0)],
)  # fmt: skip
def test_kendall(x: list[float], y: list[float], tau: float) -> None:
    assert claims.kendall(np.array(x), np.array(y)) == pytest.approx(tau)


def wilson(ones: int, count: int) -> Any:
    return binomtest(ones, count).proportion_ci(method="wilson")


def test_wilson_is_the_papers_threshold() -> None:
    """20 of 20, and 0 of 20: where the thresholds of the last-token claim are from."""
    low, high = CLAIMS["last-token"].tests
    assert wilson(20, 20).low == pytest.approx(low.above, abs=0.005)
    assert wilson(0, 20).high == pytest.approx(high.below, abs=0.005)


def test_a_share_of_all_is_not_certain() -> None:
    few = [EVEN] * 5 + [0.05] * 60
    data = interpolated(
        "meaning", paths(width=few, pairs=65, shares_token=[True] * 5 + [False] * 60)
    )
    [share] = estimates("last-token", 0, data)
    assert (share["pairs"], share["value"], share["outcome"]) == (5, 1, "open")
    assert share["low"] == pytest.approx(wilson(5, 5).low)


SERIES = Trend.model_construct(series="size")


def sized(facts: list[tuple[str, int, int, int]]) -> dict[str, list[str]]:
    """Series of models given by name, layers, width and parameters."""
    table = pd.DataFrame({"model": [name for name, *_ in facts], "layer": 0})
    rows = [(name, name, "f", "hub", layers, width, n, None) for name, layers, width, n in facts]
    columns = ["model", "name", "family", "source", "layers", "hidden_size", "parameters", "tokens"]
    result = claims.series(SERIES, table, pd.DataFrame(rows, columns=columns))
    return {name: [model for _, model, _ in points] for name, points in result.items()}


def test_a_family_that_changes_one_thing_at_a_time_has_a_series_of_each() -> None:
    suite = [("w32", 8, 32, 1), ("d16", 16, 64, 4), ("d4", 4, 64, 2), ("d8", 8, 64, 3)]
    assert sized(suite) == {
        "f: depth, at width 64": ["d4", "d8", "d16"],
        "f: width, at depth 8": ["w32", "d8"],
    }


def test_another_family_is_one_series_by_parameters() -> None:
    qwen = [("7b", 28, 3584, 7), ("0.5b", 24, 896, 1), ("1.5b", 28, 1536, 2)]
    assert sized(qwen) == {"f: parameters": ["0.5b", "1.5b", "7b"]}
    assert sized(qwen[:1]) == {}


# The ledgers


def test_thresholds_that_recur_are_those_of_the_code() -> None:
    """The pace of a boundary, the paper's cut for none, and the definition that tables go by."""
    entries = [test for claim in CLAIMS.values() for test in claim.tests]
    assert {test.above for test in entries if "pace of a boundary" in test.reason} <= {
        boundaries.SPEED, None,
    }  # fmt: skip
    cuts = {test.below for test in entries if "itself takes a pair" in test.reason}
    assert cuts == {conventions.LOW}
    named = {
        test.where["definition"] for test in entries if "definition" in getattr(test, "where", {})
    }
    assert named == {boundaries.MAIN}


def test_every_effect_of_the_embedded_study_is_a_cell_that_it_has() -> None:
    """Choices by the configuration; other tables by the names in the code."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    entry = config["experiments"]["robustness"]
    known = {
        ("read_site", site) for site in entry["read_sites"]
    } | {("corpus", name) for name in entry["prompt_sets"]} | {
        ("steps", str(steps)) for steps in entry["grids"]
    }  # fmt: skip
    cells = [entry.effect for entry in DEVIATIONS.values() if entry.effect]
    assert len(cells) >= 5
    for cell in cells:
        assert cell.experiment in {
            *config["studies"]["embedded"]["experiments"],
            "independent-check",
        }
        if cell.table == "robustness":
            assert (cell.where["choice"], cell.where["value"]) in known
        assert cell.where.get("definition", boundaries.MAIN) in boundaries.DEFINITIONS


def test_no_number_of_ours_is_typed_into_the_deviations() -> None:
    for entry in DEVIATIONS.values():
        typed = f"{entry.ours} {entry.reason or ''} {entry.effect.number if entry.effect else ''}"
        assert not any(character.isdigit() for character in typed), entry.id


CLAIM = """
- id: one
  statement: s
  whose: paper
  place: p
  tests:
    - {test: rest, estimand: e, raw: r, columns: [a], layer: 0, slower_than: 0.5, above: 0.5,
       reason: r, needs: n}
"""


@pytest.mark.parametrize(
    ("low", "high", "difference", "inside"),
    [
        (3.9, 3.9, 0.1, True), (4.4, 4.4, -0.4, False), (3.0, 3.0, 1.0, False),
        (1.0, 3.9, 0.1, True), (3.0, 9.0, 0.0, True), (4.3, 9.0, -0.3, False),
    ],
)  # fmt: skip
def test_what_the_paper_gives_stands_beside_an_estimate(
    low: float, high: float, difference: float, inside: bool
) -> None:
    one = claims.Estimate("m", ["m"], 60, value=4.0, low=3.8, high=4.2)
    original = Original(low=low, high=high, read="text")
    result = claims.beside(one, original)
    assert result["difference"] == pytest.approx(difference)
    assert result["inside"] is inside
    unsure = replace(one, low=math.nan, high=math.nan)
    assert claims.beside(unsure, original)["inside"] is None


def test_a_number_of_the_paper_is_of_the_estimate_that_it_names() -> None:
    test = (
        CLAIMS["regions"]
        .tests[0]
        .model_copy(update={"original": [Original(low=5, high=5, read="Figure 4 (c)", of="a")]})
    )
    made = [claims.Estimate(name, [name], 60, value=4.0, low=3.8, high=4.2) for name in "ab"]
    a, b = claims.with_outcomes(test, made)
    assert (a["original"]["low"], a["original"]["difference"]) == (5, -1)
    assert b["original"] is None


def test_the_papers_own_numbers_are_beside_ours() -> None:
    result = run("last-token", extremes(low=True, high=False))
    given = [one["original"]["low"] for test in result["tests"] for one in test["estimates"]]
    assert given == [1, 0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("whose: paper", "whose: mine", "one: whose | 'mine'"),
        ("  place: p\n", "", "one: place | missing"),
        ("place: p", "place: p\n  plaice: p", "one: plaice | 'p'"),
        ("above: 0.5", "above: high", "one: tests.0.above | 'high'"),
        ("above: 0.5", "above: 1, below: 2", "one: tests.0 | {"),
        (" above: 0.5,", "", "one: tests.0 | above | below"),
        ("test: rest", "test: best", "one: tests.0.test | 'best' | 'rest'"),
        ("layer: 0", "layer: -2", "one: tests.0.layer | -2"),
        ("reason: r", "reason: ''", "one: tests.0.reason | ''"),
        ("columns: [a]", "columns: []", "one: tests.0.columns | []"),
        (
            "needs: n",
            "needs: n, original: [{low: 2, high: 1, read: t}]",
            "one: tests.0.original.0 | low is above high",
        ),
        ("- id: one\n ", "-", "entry 1: id | missing"),
        ("- id", "id", "not YAML"),
    ],
)
def test_a_mistake_in_a_ledger_is_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM)
    assert list(load_ledger(path, Claim)) == ["one"]
    assert old in CLAIM
    path.write_text(CLAIM.replace(old, new))
    with refused(f"claims.yaml: | {message}"):
        load_ledger(path, Claim)


def test_an_id_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIM + CLAIM)
    with pytest.raises(UserError, match="claims.yaml: one: "):
        load_ledger(path, Claim)
    with pytest.raises(UserError, match="none.yaml: "):
        load_ledger(tmp_path / "none.yaml", Claim)
    path.write_text("one: 1")
    with pytest.raises(UserError, match="claims.yaml: .* list"):
        load_ledger(path, Claim)


DEVIATION = {"id": "d", "of": "text", "theirs": "t", "ours": "o"}
CELL = {
    "number": "n", "table": "robustness", "where": {"choice": "steps", "value": "100"},
    "value": "change", "interval": ["change_low", "change_high"],
}  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"effect": CELL, "reason": "r"}, {"effect": 0.5}])
def test_a_deviation_has_a_measured_effect_or_a_reason(tmp_path: Path, more: dict) -> None:
    path = tmp_path / "deviations.yaml"
    path.write_text(yaml.safe_dump([DEVIATION | more]))
    with pytest.raises(UserError, match="deviations.yaml: d: "):
        load_ledger(path, Deviation)


def test_effects_are_read_from_cells() -> None:
    measured = Deviation.model_validate(DEVIATION | {"effect": CELL})
    described = Deviation.model_validate(DEVIATION | {"id": "e", "reason": "r"})
    choices = pd.DataFrame(
        {"model": ["m", "m", "n"], "choice": "steps", "value": [25, 100, 100], "pairs": 9,
         "change": [1.0, 2.0, 3.0], "change_low": 0.5, "change_high": 4.0}
    )  # fmt: skip
    table = tabulate([measured, described], {"robustness": choices})
    assert table["deviation"].tolist() == ["d", "d", "e"]
    assert table["value"].tolist()[:2] == [2, 3]
    assert table.loc[0, ["model", "low", "high", "pairs"]].tolist() == ["m", 0.5, 4, 9]
    assert table["reason"].tolist()[2] == "r"
    assert table.loc[2, ["model", "value"]].isna().all()
    assert tabulate([measured], {})["model"].isna().all()
    assert tabulate([measured], {"robustness": choices.assign(change=np.nan)})["model"].isna().all()
    with pytest.raises(UserError, match="deviation d: robustness .*'change'"):
        tabulate([measured], {"robustness": choices.drop(columns="change")})
