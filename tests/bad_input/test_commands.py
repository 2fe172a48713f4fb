"""What a user sees of it: the real commands."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.bad_input.test_configurations import ASKED, CONFIGS, FILES
from tests.bad_input.test_files import NOT_TEXTS, PACKAGES, RAW
from tests.bad_input.test_models import CHECKED, LOADED, LOCAL, MADE, NAN, UP, weighing
from tests.bad_input.test_prompts import PROMPTS, WORDS
from tests.tiny_study import make_sources, snakemake

pytestmark = pytest.mark.workflow


def said_by(folder: Path, *arguments: str) -> list[str]:
    """The lines of a run that fails."""
    done = snakemake(folder, *arguments)
    assert done.returncode != 0
    message = done.stdout + done.stderr
    assert "Traceback" not in message
    return message.splitlines()


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ("study: paper\nstudy: families\n", "x.yaml: duplicate key 'study' (lines 1 and 2)"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghij")
            ),
            "x.yaml: stands for 1.2e+10 values",
        ),
        (
            "studies: {x: {title: t, experiments: {sharpness: []}}}\nstudy: x\n",
            "config.yaml: studies.x.experiments.sharpness: ",
        ),
    ],
)
def test_a_command_tells_a_wrong_configuration_in_a_line(
    tmp_path: Path, overlay: str, said: str
) -> None:
    (tmp_path / "x.yaml").write_text(overlay)
    lines = said_by(tmp_path, "--configfile", str(tmp_path / "x.yaml"))
    assert sum(said in line for line in lines) == 1
    assert not (tmp_path / "results").exists()


def test_a_command_tells_a_wrong_model_before_it_runs(tmp_path: Path) -> None:
    make_sources(tmp_path)
    folder = tmp_path / "sources" / "tiny-llama"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    lines = said_by(tmp_path)
    [line] = [line for line in lines if line.startswith("config.yaml: ")]
    assert line.startswith("config.yaml: models.tiny-llama.source.path: ")
    assert line.endswith("pytorch_model.bin is a pickle and is not read")
    assert not (tmp_path / "resources").exists()


def test_a_command_leaves_nothing_of_a_model_with_a_nan(tmp_path: Path) -> None:
    make_sources(tmp_path)
    folder = tmp_path / "sources" / "tiny-llama"
    weighing(lambda weights: weights[UP].__setitem__((3, 4), NAN))(folder)
    lines = said_by(tmp_path, "--", "results/tiny/activations/examples/tiny-llama.safetensors")
    [line] = [line for line in lines if "error: " in line]
    assert f"weight {UP} holds a number that is not finite" in line
    left = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert {path.parent.name for path in left} == {"examples"}
    assert {path.suffix for path in left} == {".parquet"}  # the prompts, which are whole


def test_there_are_sixty_and_more() -> None:
    tables: list[dict] = [CONFIGS, ASKED, FILES, PROMPTS, WORDS, MADE, LOADED, CHECKED, LOCAL]
    tables += [PACKAGES, NOT_TEXTS, RAW]
    assert sum(map(len, tables)) >= 60
