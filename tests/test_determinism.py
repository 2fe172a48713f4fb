"""What two clean runs make of the same are the same bytes."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from stable_regions.audit.records import load_records


def manifest(folder: Path, study: str) -> dict[str, Any]:
    text = (folder / "results" / study / "manifest.json").read_text(encoding="utf-8")
    return json.loads(text.replace(f"results/{study}/", "results/"))


def jobs(recorded: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """The rule and the outputs of each job, by all that it made them of."""
    result = {}
    for job in recorded["jobs"]:
        # when a local source was last changed is no part of what is made of it
        params = {key: value for key, value in job["params"].items() if key != "file_stamps"}
        key = json.dumps([job["script"], params, job["input"]["files"]], sort_keys=True)
        result[key] = (job["rule"], job["output"]["files"])
    return result


def kinds(recorded: dict[str, Any]) -> set[str]:
    return {experiment["kind"] for experiment in recorded["experiments"].values()}


def compared(whole: dict[str, Any], part: dict[str, Any]) -> tuple[set[str], set[str]]:
    """What a part of a study shares with the whole is the same bytes.

    Gives the rules of which jobs are compared, and those of which the part makes its own.
    """
    first, made = jobs(whole), jobs(part)
    shared = {key: made[key] for key in made if key in first}
    assert shared == {key: first[key] for key in first if key in made}
    own = {made[key][0] for key in made if key not in first}
    return {rule for rule, _ in shared.values()}, own


def test_a_second_clean_run_gives_the_same_bytes(tiny: Path, again: Path) -> None:
    """Whatever the number of cores, in whatever environments of the same packages.

    The second run is of a part of the study, with an experiment of each kind.
    """
    pythons = {record["versions"]["python"] for record in load_records(again / "logs")}
    if pythons != {platform.python_version()}:  # raw files say what they were made with
        pytest.skip(f"conda's Python is {pythons}, this one {platform.python_version()}")
    whole, part = manifest(tiny, "tiny"), manifest(again, "few")
    assert kinds(part) == kinds(whole)
    _, own = compared(whole, part)
    assert own == {"claims", "numbers", "explorer", "paper"}


@pytest.mark.slurm
def test_so_does_one_in_a_queue(tiny: Path, queued: Path) -> None:
    rules, _ = compared(manifest(tiny, "tiny"), manifest(queued, "queue"))
    assert rules >= {
        "train", "cache_activations", "interpolate_shards", "gather", "interpolation_tables",
        "clusters", "cluster_tables", "figure",
    }  # fmt: skip
