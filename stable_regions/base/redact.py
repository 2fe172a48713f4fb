"""Redaction of what no result or log may hold: the user's home folder, and secrets."""

import os
import re
from pathlib import Path

# The names that environment variables with secrets go by, and what the hub's tokens look like.
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|API_?KEY", re.IGNORECASE)
HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
SHORTEST = 8  # a shorter value is no secret, and may be a part of any word


def with_tilde(path: str) -> str:
    """A path on this disk, with `~` for the home folder that it lies in."""
    home = Path.home()
    if len(home.parts) > 1 and Path(path).is_relative_to(home):
        return str(Path("~", Path(path).relative_to(home)))
    return path


def redact(text: str) -> str:
    """A text with `~` for the home folder, and `***` for tokens and other secrets."""
    home = Path.home()
    if len(home.parts) > 1:
        text = re.sub(rf"{re.escape(str(home))}(?![\w.-])", "~", text)
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, "***")
    return HUB_TOKEN.sub("***", text)
