"""A browser without a screen, for the pages that the project makes."""

import json
import shutil
from pathlib import Path

from selenium import webdriver

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))


def start(profile: Path) -> webdriver.Chrome:
    """Start Chromium; it logs what pages ask for and what they complain of."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage",
        f"user-data-dir={profile}", "window-size=1200,900",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))


def requests(chrome: webdriver.Chrome) -> list[str]:
    """What a page has asked for since it was opened, but for what it carries itself."""
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    sent = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in sent if not url.startswith(("data:", "blob:"))]
