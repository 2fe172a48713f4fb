"""Snakemake's report: made without a network, with the figures, the paper and the run times."""

import re
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import requests
from tests.documents import arguments
from tests.tiny_study import snakemake

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def report(tiny: Path) -> Path:
    command = arguments("--report")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, NOWHERE)  # a download would fail
        patch.delenv("no_proxy", raising=False)
        done = snakemake(tiny, *command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Missing metadata" not in done.stderr
    return tiny / command[-1]


def test_every_figure_is_in_the_report_with_its_caption(report: Path, tiny: Path) -> None:
    figures = sorted(path.stem for path in (tiny / "results/tiny/figures").glob("*.png"))
    assert len(figures) > 10
    text = report.read_text()
    for figure in figures:
        assert f"stable_regions/figures/{figure}.py" in text
        assert f"results/tiny/figures/{figure}.csv" in text
        assert f'"{figure}.png"' in text


def test_the_report_has_its_parts(report: Path) -> None:
    text = report.read_text()
    for part in ("Figures", "as in the original", "appendix", "Paper"):
        assert f'"{part}"' in text
    assert "which claims hold" in text
    assert "The study <em>tiny</em> of a replication" in text
    assert len(set(re.findall(r'"rule": ?"([^"]+)"', text))) > 30  # run times, rule by rule


@pytest.mark.browser
def test_the_report_opens_without_a_network(report: Path, chrome: webdriver.Chrome) -> None:
    chrome.get("about:blank")
    chrome.get_log("performance")
    chrome.get(report.as_uri())
    WebDriverWait(chrome, 60).until(lambda page: page.find_elements(By.CSS_SELECTOR, "#app svg"))
    menu = chrome.find_element(By.ID, "app").text
    assert "Statistics" in menu
    assert "Figures" in menu
    assert requests(chrome) == [report.as_uri()]
