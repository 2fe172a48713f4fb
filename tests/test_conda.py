"""Under `--sdm conda` each rule runs in the environment that it names, and in nothing else."""

from pathlib import Path

import pytest

from stable_regions.audit.records import load_records
from stable_regions.base.files import sha256
from tests.documents import CONDA
from tests.test_environments import NAMED
from tests.tiny_study import FEW, FIRST_FIGURE, ROOT, environments, snakemake

pytestmark = pytest.mark.conda
# A workflow of one rule, which looks for what only other environments have.
PEEK = """
rule peek:
    output: "found"
    conda: "{root}/envs/paper.yaml"
    script: "peek.py"
"""
SCRIPT = """
import sys
sys.path.insert(0, {scripts!r})
import _job
found = []
for name in ("typst", "torch", "matplotlib", "pytest"):
    try:
        __import__(name)
        found.append(name)
    except ModuleNotFoundError:
        pass
open(snakemake.output[0], "w").write(" ".join(found))
"""


def kinds_of(folder: Path) -> set[str]:
    """The environments of a run, after a look at each job's record: was it in the one it names?"""
    ran = {(record["script"], record["conda"]) for record in load_records(folder / "logs")}
    assert ran == {(script, sha256(ROOT / NAMED[script])) for script, _ in ran}
    return {NAMED[script] for script, _ in ran}


def test_the_embedded_study_s_first_figure_is_made_by_conda(embedded: Path) -> None:
    assert (embedded / FIRST_FIGURE).read_bytes().startswith(b"%PDF")
    assert kinds_of(embedded) == {"envs/model.yaml", "envs/figures.yaml"}


def test_each_rule_ran_in_the_environment_that_it_names(again: Path) -> None:
    """By the interpreter: each job recorded what its own environment was made from."""
    kinds = kinds_of(again)
    assert kinds == {f"envs/{kind}.yaml" for kind in ("model", "clustering", "figures", "paper")}


def test_so_does_a_rule_that_leaves_no_record(again: Path, verified: str) -> None:
    done = snakemake(again, "trace", *CONDA, *FEW, "--config", "target=emerge")
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(environments(again, done.stderr)) == {sha256(ROOT / NAMED["scripts/trace.py"])}


def test_what_an_environment_lacks_does_not_come_from_snakemakes_own(
    again: Path, tmp_path: Path
) -> None:
    """Snakemake adds its own packages to the path of a job's interpreter; ours takes them off.

    The environment was made in `again`: two workflows that make it at once are in each other's way.
    """
    (tmp_path / "Snakefile").write_text(PEEK.format(root=ROOT))
    (tmp_path / "peek.py").write_text(SCRIPT.format(scripts=str(ROOT / "scripts")))
    done = snakemake(tmp_path, "--snakefile", str(tmp_path / "Snakefile"), *CONDA)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "found").read_text() == "typst"
