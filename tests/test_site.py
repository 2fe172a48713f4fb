"""The documents as a site: built strictly, without a network, with what a run has made."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mkdocs.config import load_config
from mkdocs.structure.files import Files

from tests.documents import DOCUMENTS, read
from tests.tiny_study import ROOT
from tools import pages

NOWHERE = "http://127.0.0.1:9"
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?(https?:)?//[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, NOWHERE)  # a download would fail
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.process
def test_every_document_is_a_page(site: Path) -> None:
    names = {path.name: path.stem for path in DOCUMENTS}
    names |= {top: page.removesuffix(".md") for top, page in pages.PAGES.items()}
    assert [name for name in names.values() if not (site / f"{name}.html").exists()] == []
    first = read(site / "index.html")
    assert all(f'href="{page}.html"' in first for page in ("models", "contributing", "look"))
    assert 'src="figA_sharpness.png"' in first


@pytest.mark.process
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    assert LOADED.search('<link rel="stylesheet" href="https://fonts.example/css">')
    loading = {
        path.name: result[0]
        for path in site.rglob("*.html")
        for result in LOADED.finditer(read(path))
        if 'rel="canonical"' not in result[0]
    }
    assert not loading


def test_the_page_to_explore_is_embedded_once_a_run_has_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(str(ROOT / "mkdocs.yml"))
    text = read(ROOT / "docs" / "explore.md")
    [hook] = config["hooks"].values()
    monkeypatch.setattr(hook, "RESULTS", tmp_path)

    def shown() -> str:
        files = config.plugins.on_files(Files([]), config=config)
        return hook.on_page_markdown(text, files=files)

    assert "<iframe" not in shown()
    for name in pages.MADE:
        (tmp_path / name).touch()
    assert '<iframe src="results/explorer.html"' in shown()
