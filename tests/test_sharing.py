"""Several workflows with one cache: what one has downloaded or converted, the others take."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from stable_regions.base.files import sha256
from tests.gguf_model import write_gguf
from tests.hub_stand_in import Repository, serve
from tests.test_hub import PROGRAM, make_repository
from tests.tiny_study import ROOT, make_sources

pytestmark = pytest.mark.workflow

TARGET = "resources/models/packed"
WHEEL = "packed-1.0-py3-none-any.whl"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A package with a model, as an index of its own; a configuration that names it."""
    make_sources(tmp_path)
    write_gguf(tmp_path / "sources/tiny-llama", tmp_path / "model.gguf")
    (tmp_path / "index").mkdir()
    wheel = tmp_path / "index" / WHEEL
    with zipfile.ZipFile(wheel, "w") as made:
        made.write(tmp_path / "model.gguf", "packed/model.gguf")
        inside = "packed-1.0.dist-info"
        made.writestr(f"{inside}/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1.0\n")
        made.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{inside}/RECORD", "")
    package = {"version": "1.0", "file": WHEEL, "sha256": sha256(wheel), "licence": "MIT"}
    source = {"kind": "package", "package": "packed", "member": "packed/model.gguf"}
    config = {
        "study": "mine",
        "packages": {"packed": package | {"megabytes": 0.1}},
        "models": {"packed": {"family": "Packed", "licence": "MIT", "source": source}},
        "studies": {
            "mine": {"title": "a", "experiments": {"examples": ["packed"]}},
            "second": {"title": "b", "experiments": {"sharpness": ["packed"]}},
        },
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "cache").mkdir()
    return tmp_path


def start(shop: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    """A workflow in a working directory of its own, with the cache that all share."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
        "--configfile", str(shop / "mine.yaml"), "--directory", str(shop / name), "--cores", "1",
        "--cache", "package", "packaged_model", *arguments,
    ]  # fmt: skip
    environment = os.environ | {
        "SNAKEMAKE_OUTPUT_CACHE": str(shop / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(shop / "index"),
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end(started: subprocess.Popen[str]) -> str:
    printed, _ = started.communicate(timeout=300)
    assert started.returncode == 0, printed[-3000:]
    return printed


def done(folder: Path) -> set[str]:
    """What was really done: a job leaves a record."""
    return {path.name.partition(".")[0] for path in (folder / "logs").rglob("*.record.json")}


def test_another_workflow_neither_downloads_nor_converts_again(shop: Path) -> None:
    end(start(shop, "first", "--", TARGET))
    assert done(shop / "first") == {"packed-1", "model-packed"}
    (shop / "index" / WHEEL).unlink()
    end(start(shop, "second", "--", TARGET))
    assert done(shop / "second") == set()
    first, second = (shop / name / TARGET / "model.safetensors" for name in ("first", "second"))
    assert first.samefile(second)  # on the disk once
    assert (shop / "second/resources/facts/packed.json").exists()
    assert "Nothing to be done" in end(start(shop, "first", "--", TARGET))
    planned = end(start(shop, "first", "--config", "study=second", "--dry-run"))
    rules = {line.split()[0] for line in planned.splitlines() if line.strip()}
    assert "cache_activations" in rules
    assert "packaged_model" not in rules

    config = yaml.safe_load((shop / "mine.yaml").read_text())
    config["models"]["packed"]["family"] = "Another"
    (shop / "mine.yaml").write_text(yaml.safe_dump(config))
    end(start(shop, "third", "--", TARGET))
    assert done(shop / "third") == {"model-packed"}
    third = shop / "third" / TARGET
    assert "Another" in (third / "source.json").read_text()
    assert "Another" not in (shop / "first" / TARGET / "source.json").read_text()


def test_workflows_that_start_at_once_end_well(shop: Path) -> None:
    """At worst the work is done twice."""
    both = [start(shop, name, "--", TARGET) for name in ("one", "other")]
    for started in both:
        end(started)
    hashes = {sha256(shop / name / TARGET / "model.safetensors") for name in ("one", "other")}
    assert len(hashes) == 1


@pytest.mark.hub
def test_two_that_ask_the_hub_at_once_download_once(tmp_path: Path) -> None:
    with serve() as hub:
        hub.repositories["me/gated"] = Repository({"main": make_repository(tmp_path / "r")})
        hub.seconds = 5
        both = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path / name)], cwd=ROOT,
                env=hub.environment(tmp_path / "home"), stdout=subprocess.PIPE, text=True,
            )
            for name in ("one", "other")
        ]  # fmt: skip
        commits = {started.communicate(timeout=120)[0].strip() for started in both}
        assert commits == {hub.repositories["me/gated"].commit("main")}
        weights = [(tmp_path / name / "model.safetensors").resolve() for name in ("one", "other")]
        assert weights[0] == weights[1]
        assert hub.files().count("model.safetensors") == 1
