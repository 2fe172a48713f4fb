"""The sentences of the paper for other people's models: how many there are, and which are twins.

The studies are made up, without a run; the paper is read as Typst sets it in HTML.
"""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from stable_regions.base.files import read_json
from stable_regions.paper import findings, numbers
from tests.test_claims import extremes, run
from tests.test_findings import slopes_of
from tests.tiny_study import ROOT

pytestmark = pytest.mark.process

SITES = ("post_norm", "pre_norm")
PAIRS = ("S1", "S2", "S3", "D1", "D2", "D3")
FIGURES = {"examples": "fig2", "sharpness": "figA_sharpness", "layers": "figA_layers",
           "size": "fig4", "training": "fig3"}  # fmt: skip
CHECK = {
    "sweep_error": {"patched": 1e-7}, "versions": {"torch": "2"}, "machine": {"processor": "one"},
    "device": "cpu",
}  # fmt: skip


def models_of(medians: dict[str, float], like: dict[str, str]) -> pd.DataFrame:
    """Models by name and median max slope, each deeper than the one before."""
    rows = [
        {"model": ref, "name": ref.partition("@")[0], "family": f"family of {like.get(ref, ref)}",
         "source": "random" if ref in like else "hub", "parameters": 1000 * depth,
         "layers": depth, "hidden_size": 8, "vocabulary": 10, "norm": "RMSNorm", "licence": "none",
         "revision": "", "step": None, "tokens": float(ref.partition("@")[2] or "nan")}
        for depth, ref in enumerate(medians, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def study(
    folder: Path, medians: dict[str, float], like: dict[str, str], experiments: list[str]
) -> Path:
    """`numbers.json` and figures of a made-up study in which all models run all experiments."""
    models = models_of(medians, like)
    layers = [0, 3]
    summary = [
        {"model": ref, "layer": layer, "read_site": site, "parameters": 1, "pairs": 40,
         "median": median - layer / 10, "q25": median - 0.5, "q75": median + 0.5,
         "ci_low": median - 0.1, "ci_high": median + 0.1, "undefined": 0}
        for ref, median in medians.items() for layer in layers for site in SITES
    ]  # fmt: skip
    pairs = slopes_of(
        {(ref, layer): median - layer / 10 for ref, median in medians.items() for layer in layers},
        noise=0.1,
    )
    examples = [
        {"model": ref, "layer": 0, "pair": pair, "max_slope_post_norm": median + i}
        for ref, median in medians.items() for i, pair in enumerate(PAIRS)
    ]  # fmt: skip
    keys = ["model", "layer", "read_site"]
    tables = {name: (pd.DataFrame(summary), keys) for name in experiments if name != "examples"}
    if "examples" in experiments:
        tables["examples_pairs"] = (pd.DataFrame(examples), [])
    held = {name: table for name, (table, _) in tables.items()}
    held |= {f"{name}_pairs": pairs for name in experiments if name != "examples"}
    facts = {
        "study": {"name": "made-up", "title": "models of other people"},
        "experiments": {
            name: {"kind": "interpolation", "prompts": "p", "pairs": 40, "steps": 9,
                   "layers": layers}
            for name in experiments
        },
        "prompts": {"p": {"kind": "random", "corpus": "c", "tokens": 10, "seed": 0}},
        "trained_on": {}, "bos": [], "like": like, "compute": {"bootstrap": 50},
        "constants": numbers.constants(), "figures": [FIGURES[name] for name in experiments],
        "figure_map": [],
        "claims": [], "checks": [CHECK], "series": findings.series_of(held, models),
        "findings": findings.findings(held, [], models, resamples=50, seed=0),
    }  # fmt: skip
    made = numbers.collect(tables, models, facts)
    (folder / "numbers.json").write_text(json.dumps(made, default=lambda value: value.item()))
    (folder / "figures").mkdir()
    for name in experiments:
        plt.figure(figsize=(1, 1)).savefig(folder / "figures" / f"{FIGURES[name]}.pdf")
    plt.close("all")
    return folder


SET = """
import json, sys, typst
source, inputs = sys.argv[1], json.loads(sys.argv[2])
assert typst.compile(source, root="/", sys_inputs=inputs).startswith(b"%PDF")
page = typst.compile(source, root="/", format="html", sys_inputs=inputs)
sys.stdout.buffer.write(page)
"""


def read(results: Path) -> tuple[str, str]:
    """The abstract and the text of a study's paper, without markup."""
    inputs = {"results": str(results), "costs": "[]"}
    # in a process of its own: Typst's threads would not be there in those that other tests fork
    done = subprocess.run(
        [sys.executable, "-c", SET, str(ROOT / "paper" / "paper.typ"), json.dumps(inputs)],
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    page = done.stdout
    [abstract] = re.findall(r'<meta name="description" content="([^"]*)"', page)
    body = re.sub(r"(?s)<(style|script|svg)\b.*?</\1>", "", page)
    texts = (html.unescape(re.sub(r"<[^>]+>", " ", part)) for part in (abstract, body))
    abstract, text = (re.sub(r" ([.,;:])", r"\1", " ".join(text.split())) for text in texts)
    return abstract, text


def test_a_twin_belongs_to_the_model_that_it_is_like(tmp_path: Path) -> None:
    """Whichever model comes first: the twin here is Gemma's, and not Qwen's."""
    medians = {"qwen2": 5.49, "gemma3": 2.31, "gemma3-bos": 3.12, "gemma3-random": 1.49}
    like = {"gemma3-random": "gemma3"}
    abstract, text = read(study(tmp_path, medians, like, ["sharpness"]))
    assert re.search(
        r"On gemma3, over .* of 2\.31 .*; the same .* random weights has 1\.49\.", abstract
    )
    assert "On qwen2, over" not in abstract
    assert (
        "Over the 3 trained models the median goes from 2.31 (gemma3) to 5.49 (qwen2)." in abstract
    )
    assert "On gemma3-random it is between 0.99 and 1.99" in text


def test_all_twins_of_a_model_are_told(tmp_path: Path) -> None:
    medians = {"a": 4.0, "a-r0": 1.2, "a-r1": 1.3}
    abstract, _ = read(study(tmp_path, medians, {"a-r0": "a", "a-r1": "a"}, ["sharpness"]))
    assert "random weights has 1.20 and 1.30." in abstract


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("twins", [0, 1])
def test_each_model_has_a_sentence_of_its_own(tmp_path: Path, count: int, twins: int) -> None:
    medians = {f"m{i}": 2.0 + i for i in range(count)}
    like = {f"m{count - 1}-random": f"m{count - 1}"} if twins else {}
    abstract, text = read(study(tmp_path, medians | dict.fromkeys(like, 1.05), like, ["sharpness"]))
    lead = f"m{count - 1}" if twins else "m0"
    assert f"On {lead}, over 40 pairs" in abstract
    assert ("random weights has 1.05." in abstract) == bool(twins)
    assert ("trained models the median goes from" in abstract) == (count > 1)
    for name, median in medians.items():
        expected = f"Half of the pairs on {name} have a max slope between {median - 0.5:.2f} and"
        assert expected in text
    assert ("random-weights twins on the same pairs" in text) == bool(twins)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_single_pairs_are_told_by_model(tmp_path: Path, count: int) -> None:
    medians = {f"m{i}": 2.0 + 10 * i for i in range(count)}
    _, text = read(study(tmp_path, medians, {}, ["examples"]))
    assert "Single pairs on m0 (set p)" in text  # Figure 2 draws one model, and says which
    for name, median in medians.items():
        listed = ", ".join(f"{pair}: {median + i:.2f}" for i, pair in enumerate(PAIRS[:-1]))
        assert f"On {name} the max slopes are {listed} and D3: {median + 5:.2f}." in text


@pytest.mark.parametrize("count", [1, 3, 8])
def test_write_layers_are_told_by_model(tmp_path: Path, count: int) -> None:
    medians = {f"m{i}": 2.0 + i for i in range(count)}
    twin = {"m0-random": "m0"}
    _, text = read(study(tmp_path, medians | {"m0-random": 1.1}, twin, ["layers"]))
    smoother = "Of the first and the last of these the later is the smoother."
    for name, median in medians.items():
        assert f"On {name}, read after the norm, the median max slope is {median:.2f}" in text
    assert text.count(smoother) == count
    assert "With random weights (m0-random) the medians lie between 0.80 and 1.10" in text
    assert "by write layer on m0," in text


@pytest.mark.parametrize("count", [1, 3, 8])
def test_sizes_are_told_by_family(tmp_path: Path, count: int) -> None:
    """Each model here is a family of one, and its twin another."""
    medians = {f"m{i}": 2.0 + i for i in range(count)}
    _, text = read(study(tmp_path, medians | {"m0-random": 1.1}, {"m0-random": "m0"}, ["size"]))
    for name in medians:
        assert f"family of {name}, of which there is one size here ({name}," in text
    assert "family of m0 (random weights), of which there is one size here (m0-random," in text


@pytest.mark.parametrize("count", [1, 3, 8])
def test_training_is_told_by_model(tmp_path: Path, count: int) -> None:
    medians = {f"m{i}@{tokens}": 2.0 + i + tokens / 9 for i in range(count) for tokens in (0, 9)}
    medians |= {"only@9": 3.0}
    _, text = read(study(tmp_path, medians, {}, ["training"]))
    for i in range(count):
        expected = rf"m{i} {2 + i:.2f} \[[^]]*\] after 0 tokens and {3 + i:.2f} \[[^]]*\] after 9"
        assert re.search(expected, text)
    assert re.search(r"only 3\.00 \[[^]]*\] after 9 tokens, its only checkpoint", text)
    assert f"From the first checkpoint to the last it rises in {count} of the {count} model" in text


@pytest.mark.parametrize(("model", "another"), [("qwen2-0.5b@main", False), ("mine", True)])
def test_the_papers_numbers_stand_beside_ours(tmp_path: Path, model: str, another: bool) -> None:
    results = study(tmp_path, {"qwen2": 5.49}, {}, ["sharpness"])
    made = read_json(results / "numbers.json")
    claim = run("last-token", extremes(low=True, high=False))
    for test in claim["tests"]:
        for one in test["estimates"]:
            one["models"] = [model]
    cost = {"points": 1, "jobs": 1, "training_tokens": 0}
    made["claims"] = [claim | {"command": "snakemake", "cost": cost}]
    (results / "numbers.json").write_text(json.dumps(made))
    _, text = read(results)
    assert "1.00 (appendix G: 20 of 20 listed pairs)" in text
    assert ("(another model)" in text) == another
    assert ("other models need not agree" in text) == another
