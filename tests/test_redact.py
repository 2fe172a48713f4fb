"""Neither the home folder nor a token gets into results or logs."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from stable_regions.base.redact import redact, with_tilde
from stable_regions.sources.models.local import Source
from tests.tiny_study import CONFIG, make_sources, snakemake

TOKEN = "hf_" + "Zq7" * 9
SECRET = "correct-horse-battery"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and secrets in the environment."""
    folder = tmp_path / "home" / "somebody"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("REGISTRY_PASSWORD", SECRET)
    return folder


def test_texts_are_redacted(home: Path) -> None:
    text = f"{home}/models/x: 401 with {TOKEN} or {SECRET}; {home}2 is another folder"
    assert redact(text) == f"~/models/x: 401 with *** or ***; {home}2 is another folder"
    assert redact("hf_" + "a" * 34) == "***"
    assert redact("hf_hub_download of 4 files") == "hf_hub_download of 4 files"


@pytest.mark.parametrize("root", ["/", ""])
def test_a_home_that_is_everywhere_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("HOME", root or "/")
    assert with_tilde("/data/x") == "/data/x"
    assert redact("/data/x") == "/data/x"


def test_a_path_in_the_configuration_is_told_from_home(home: Path) -> None:
    inside = Source(kind="local", path=f"{home}/models/x")
    assert inside.path == "~/models/x"
    assert Source(kind="local", path="~/models/x").path == "~/models/x"
    assert Source(kind="local", path="models/x").path == "models/x"


def leaks(folder: Path, *secrets: str) -> list[str]:
    """The files of a run's results and logs that hold one of some texts."""
    return [
        f"{path}: {secret}"
        for part in ("results", "logs")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]


def run(home: Path, source: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """Run a part of the tiny study, all of it below the home folder, on absolute paths."""
    overlay = yaml.safe_load(CONFIG.read_text())
    overlay["models"]["tiny-llama"]["source"]["path"] = str(source)
    overlay["models"]["tiny-gpt2"]["source"]["path"] = str(home / "sources" / "tiny-gpt2")
    overlay["corpora"]["tiny"]["path"] = str(home / "sources" / "tiny.txt")
    path = home / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay))
    return snakemake(home / "work", "--configfile", str(path), "--", *targets)


@pytest.mark.workflow
def test_no_result_and_no_log_names_the_home_folder_or_a_token(home: Path) -> None:
    make_sources(home)
    (home / "work").mkdir()
    target = "results/tiny/activations/tiny/tiny-llama.safetensors"
    done = run(home, home / "sources" / "tiny-llama", target)
    assert done.returncode == 0, done.stderr[-3000:]
    records = list((home / "work" / "logs").rglob("*.record.json"))
    assert any('"~/sources/tiny-llama' in path.read_text() for path in records)
    # an error that names files of the home folder, with a token in it
    shutil.copytree(home / "sources" / "tiny-llama", home / TOKEN)
    (home / TOKEN / "model.safetensors").write_text("nothing")
    done = run(home, home / TOKEN, target)
    assert done.returncode != 0
    logs = [path.read_text() for path in (home / "work" / "logs").rglob("*.log")]
    assert any("error: " in text for text in logs)
    assert not leaks(home / "work", str(home), TOKEN, SECRET)
