"""The tiny study end to end: the whole DAG on models of a few layers, through Snakemake."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from stable_regions.audit import records
from stable_regions.audit.crate import copy_code
from stable_regions.base.files import read_parquet, read_safetensors, sha256
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.measures.paths import max_slope
from tests.background import BackgroundRun
from tests.tiny_study import CONFIG, ROOT, make_sources, snakemake

pytestmark = pytest.mark.workflow

# What follows from any change of the results.
LAST = ["manifest", "crate", "all"]
Run = Callable[..., subprocess.CompletedProcess[str]]


def jobs(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Rules that a dry run would run."""
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("-----")), None)
    if start is None:
        return []
    end = next(i for i, line in enumerate(lines) if line.startswith("total"))
    return [line.split()[0] for line in lines[start + 1 : end]]


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """All that a run printed: a dry run logs to the standard output, a real one does not."""
    return done.stdout + done.stderr


def test_the_paper_is_a_pdf(tiny: Path) -> None:
    pdf = (tiny / "results" / "tiny" / "paper.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000


def test_nothing_is_done_twice(tiny: Path) -> None:
    assert jobs(snakemake(tiny, "--dry-run", "--quiet", "rules")) == []


def test_a_script_has_loaded_what_it_needs_and_says_so(tiny: Path) -> None:
    """Whether it forked from a process that had loaded it, or has loaded it by itself."""
    every = records.load_records(tiny / "logs")
    rules = {has: {r["rule"] for r in every if ("torch" in r["versions"]) == has} for has in (0, 1)}
    assert rules[True] >= {"model", "train", "cache_activations", "interpolate"}
    assert rules[False] >= {
        "prompts",
        "corpus",
        "interpolation_tables",
        "clusters",
        "figure",
        "claims",
    }
    assert not rules[True] & rules[False]


def test_no_library_draws_a_bar_of_its_own(tiny: Path, runs: dict[str, BackgroundRun]) -> None:
    assert "it/s" not in runs["tiny"].said()


def test_interpolation_files_say_what_they_hold(tiny: Path) -> None:
    table, meta = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-llama.parquet")
    assert len(table) == 24 * 2
    assert {
        "pair", "prompt_a", "prompt_b", "tokens_a", "tokens_b", "layer", "input_distance",
        "distance_post_norm", "distance_pre_norm",
    } <= set(table.columns)  # fmt: skip
    assert meta["alpha"] == np.linspace(0, 1, 8).tolist()
    assert meta["model"] == "tiny-llama"
    assert len(meta["files"]["model.safetensors"]) == 64
    assert meta["versions"]["torch"].startswith("2.13")
    assert meta["prompts"]["seed"] == 0
    distance = stacked(table["distance_post_norm"])
    assert (distance[:, 0] == 0).all()
    assert (distance[:, 1:] > 0).all()


def test_shards_are_the_pairs_in_order(tiny: Path) -> None:
    """Several shards, put together in the order of the pairs, which the block bootstrap needs."""
    table, _ = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-llama.parquet")
    prompts, _ = read_parquet(tiny / "results/tiny/prompts/tiny/tiny-llama.prompts.parquet")
    for _, part in table.groupby("layer"):
        assert part["pair"].astype(int).tolist() == list(range(24))
    for row in table.itertuples():
        assert list(row.tokens_a) == list(prompts["tokens"][row.prompt_a])
        assert row.prompt_b == row.prompt_a + 1


def test_the_table_is_computed_from_the_raw_file(tiny: Path) -> None:
    table, _ = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-gpt2.parquet")
    sharp = pd.read_csv(tiny / "results/tiny/tables/sharpness.csv")
    assert sharp.columns[:10].tolist() == [
        "model", "parameters", "layer", "read_site", "pairs", "median", "q25", "q75",
        "ci_low", "ci_high",
    ]  # fmt: skip
    [row] = sharp[
        (sharp["model"] == "tiny-gpt2") & (sharp["layer"] == 1) & (sharp["read_site"] == "pre_norm")
    ].itertuples()
    slopes = max_slope(stacked(table.loc[table["layer"] == 1, "distance_pre_norm"]))
    assert row.median == pytest.approx(np.median(slopes), rel=1e-6)
    assert row.pairs == 24


def test_each_model_was_checked_when_loaded(tiny: Path) -> None:
    folder = tiny / "results" / "tiny" / "activations" / "tiny"
    for model in ("tiny-llama", "tiny-random", "tiny-gpt2"):
        check = json.loads((folder / f"{model}.check.json").read_text())
        assert check["verdict"] == "passed"
        assert 0 <= max(check["sweep_error"].values()) <= check["tolerance"]
        tensors, meta = read_safetensors(folder / f"{model}.safetensors")
        assert tensors["resid.1"].shape == (25, 32)
        assert meta["model"] == model


def test_the_paper_reads_its_numbers(tiny: Path) -> None:
    numbers = json.loads((tiny / "results" / "tiny" / "numbers.json").read_text())
    sharp = pd.read_csv(tiny / "results/tiny/tables/sharpness.csv")
    [row] = sharp[
        (sharp["model"] == "tiny-llama")
        & (sharp["layer"] == 0)
        & (sharp["read_site"] == "post_norm")
    ].itertuples()
    quoted = numbers["tables"]["sharpness"]["tiny-llama"]["0"]["post_norm"]
    assert quoted["median"] == row.median
    assert {model["model"] for model in numbers["models"]} >= set(sharp["model"])


def claims_of(folder: Path) -> dict[str, dict]:
    result = json.loads((folder / "results" / "tiny" / "claims.json").read_text())
    return {claim["id"]: claim for claim in result}


def test_every_claim_has_a_verdict_and_its_estimates(tiny: Path) -> None:
    claims = claims_of(tiny)
    ledger = yaml.safe_load((ROOT / "paper" / "claims.yaml").read_text())
    assert list(claims) == [claim["id"] for claim in ledger]
    sharp = pd.read_csv(tiny / "results/tiny/tables/sharpness.csv").set_index("model")
    random = claims["regions"]["tests"][1]["estimates"]
    assert [one["of"] for one in random] == ["tiny-random"]
    row = sharp.loc["tiny-random"].query("layer == 0 and read_site == 'post_norm'").iloc[0]
    assert random[0]["value"] == row["median"]
    assert (random[0]["low"], random[0]["high"]) == (row["ci_low"], row["ci_high"])
    assert claims["sharpen-training"]["verdict"].startswith("not run: needs four checkpoints")
    size = yaml.safe_load(CONFIG.read_text())["compute"]["shard_points"] // (8 * 2)
    assert claims["regions"]["cost"] == {
        "points": 24 * 8 * 2 * 3, "jobs": 3 * -(-24 // size), "training_tokens": 0,
    }  # fmt: skip
    assert claims["emerge"]["cost"]["training_tokens"] == 6 * 4 * 16
    table = pd.read_csv(tiny / "results/tiny/tables/claims.csv")
    assert set(table["claim"]) == set(claims)


def test_the_command_of_a_claim_computes_it_and_no_more(tiny: Path) -> None:
    command = claims_of(tiny)["last-token"]["command"].split()
    assert command[0] == "snakemake"
    assert jobs(snakemake(tiny, "--dry-run", "--quiet", "rules", *command[1:])) == ["claim"]


def test_the_independent_check_agrees(tiny: Path) -> None:
    table = pd.read_csv(tiny / "results/tiny/tables/independent-check.csv")
    assert table["model"].tolist() == ["tiny-llama", "tiny-random", "tiny-gpt2"]
    assert (table["pairs"] == 8).all()
    assert (table["slope_difference"] < table["tolerance"]).all()
    assert (table["distance_difference"] > 0).all()  # another computation, not a copy


def test_editing_a_claim_remakes_the_verdicts_and_the_paper_alone(
    tiny: Path, checkout: Path
) -> None:
    replace(checkout / "paper" / "claims.yaml", "above: 100", "above: 200")
    again = set(changed(tiny, checkout)) - {"explorer"}  # made of the copy's own files
    assert again == {"claims", "numbers", "paper", *LAST}


@pytest.fixture
def checkout(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the code beside the tiny study's results, free to be edited."""
    copy_code(tmp_path / "checkout")
    return tmp_path / "checkout"


def changed(tiny: Path, checkout: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile")]
    command += ["--directory", str(tiny), "--cores", "2", "--configfile", str(CONFIG)]
    command += ["--dry-run", "--quiet", "rules", *arguments]
    return jobs(subprocess.run(command, capture_output=True, text=True, check=False))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_editing_a_figure_remakes_it_and_what_shows_it_alone(tiny: Path, checkout: Path) -> None:
    replace(checkout / "stable_regions/figures/fig2.py", "similar pairs", "alike")
    assert set(changed(tiny, checkout)) == {"figure", "explorer", "paper", *LAST}


def test_editing_a_measure_remakes_what_follows_from_it(tiny: Path, checkout: Path) -> None:
    tables = checkout / "stable_regions/experiments/interpolation/tables.py"
    replace(tables, "[0.25, 0.5, 0.75])", "[0.2, 0.5, 0.8])")
    again = changed(tiny, checkout)
    assert "interpolation_tables" in again
    assert not {"model", "prompts"} & set(again)
    assert not [name for name in again if name.startswith(("interpolate", "cache_activations"))]


def test_editing_a_comment_remakes_nothing(tiny: Path, checkout: Path) -> None:
    before = changed(tiny, checkout)  # the paper and the page, whose sources are copies
    assert not set(before) - {"paper", "explorer", *LAST}
    sweep = checkout / "stable_regions/models/sweep.py"
    replace(sweep, "import torch\n", "import torch  # tensors\n")
    assert changed(tiny, checkout) == before


def test_changing_a_model_reruns_only_what_used_it(tiny: Path, checkout: Path) -> None:
    overlay = yaml.safe_load(CONFIG.read_text())
    overlay["models"]["tiny-random"]["source"]["seed"] = 5
    path = checkout / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay))
    done = snakemake(tiny, "--dry-run", "--configfile", str(path))
    assert done.returncode == 0, done.stderr[-2000:]
    ran = [line for line in done.stdout.splitlines() if "Interpolate" in line or "Cache" in line]
    assert ran
    assert all("tiny-random" in line for line in ran)


def test_editing_a_local_source_in_place_remakes_what_follows(tmp_path: Path) -> None:
    made = ["resources/models/tiny-llama", "resources/corpora/tiny.parquet"]
    make_sources(tmp_path)
    done = snakemake(tmp_path, *made)
    assert done.returncode == 0, done.stderr[-3000:]
    config = tmp_path / "sources/tiny-llama/config.json"
    for edited, rule in ((config, "model"), (tmp_path / "sources/tiny.txt", "corpus")):
        before = edited.read_text()
        edited.write_text(before + "\n")
        assert rule in jobs(snakemake(tmp_path, "--dry-run", "--quiet", "rules", "--", *made))
        edited.write_text(before)
    replace(config, '"hidden_act": "silu"', '"hidden_act": "gelu"')
    done = snakemake(tmp_path, *made)
    assert done.returncode == 0, done.stderr[-3000:]
    recorded = json.loads((tmp_path / made[0] / "source.json").read_text())["files"]
    assert recorded["config.json"] == sha256(config)


def test_a_wrong_configuration_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({"prompts": {"words": {"list": "no.yaml"}}}))
    done = snakemake(tmp_path, "--dry-run", "--configfile", str(path))
    assert done.returncode != 0
    [line] = [line for line in printed(done).splitlines() if "config.yaml: " in line]
    assert "list: holds 'no.yaml'" in line
    assert "Traceback" not in printed(done)


def test_a_mistake_that_only_the_data_shows_is_one_line(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "sources", tmp_path / "sources")
    shutil.copytree(tiny / "resources", tmp_path / "resources", symlinks=True)
    overlay = yaml.safe_load(CONFIG.read_text())
    overlay["prompts"]["tiny"]["count"] = 100_000
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay))
    done = snakemake(
        tmp_path,
        "--configfile",
        str(path),
        "--",
        "results/tiny/activations/tiny/tiny-llama.safetensors",
    )
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1, done.stderr[-3000:]
    assert "the corpus has" in lines[0]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "results").rglob("*.safetensors"))
