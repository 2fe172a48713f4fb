"""Where the machine's locale is another than UTF-8, everything is as elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stable_regions.audit.provenance import code_digest
from stable_regions.base.files import write_json
from stable_regions.base.yaml_file import read_yaml
from tests.tiny_study import ROOT

pytestmark = pytest.mark.process

# In a process whose locale knows ASCII alone.
ELSEWHERE = """
import locale, sys
from pathlib import Path
assert locale.getpreferredencoding(False) != "UTF-8"
sys.path.insert(0, "scripts")
from stable_regions.study import config
from stable_regions.audit import provenance
from stable_regions.base import yaml_file
from stable_regions.base.files import write_json
for script in sorted(Path("scripts").glob("[!_]*.py")):
    print(provenance.code_digest(script))
folder = Path(sys.argv[1])
config.check_config_file(folder / "config.yaml")
config.load(yaml_file.read_yaml(folder / "config.yaml"))
write_json(folder / "here.json", yaml_file.read_yaml(folder / "config.yaml"))
"""
TELLS = r"""
from types import SimpleNamespace
import sys
sys.path.insert(0, "scripts")
import _job
log = sys.argv[1] + "/told.log"
with _job.job(SimpleNamespace(log=[log], rule="tell", input=[], output=[])) as logger:
    logger.info("\u2502 told")
    print("\u2502 told")
"""


def in_ascii(program: str, folder: Path) -> str:
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT, env=os.environ | environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("ascii")


def test_results_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    config = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert "title: " in config
    path = tmp_path / "config.yaml"
    path.write_text(config.replace("title: ", "title: Régions – "), encoding="utf-8")
    message = in_ascii(ELSEWHERE, tmp_path).splitlines()
    assert message == [code_digest(path) for path in sorted((ROOT / "scripts").glob("[!_]*.py"))]
    write_json(tmp_path / "there.json", read_yaml(path))
    assert (tmp_path / "here.json").read_bytes() == (tmp_path / "there.json").read_bytes()


def test_what_a_terminal_cannot_print_is_escaped_and_logged_whole(tmp_path: Path) -> None:
    assert in_ascii(TELLS, tmp_path) == "\\u2502 told\n"
    assert (tmp_path / "told.log").read_text(encoding="utf-8").endswith("│ told\n")


OBEYED = "\x1b[2J\x1b]0;owned\x07\x1b]8;;https://example.org\x07x\r\x9b31m\u202e\u200b"


def test_what_a_terminal_would_obey_reaches_neither_it_nor_a_log(tmp_path: Path) -> None:
    """Clear the screen, set its title, link, return, colour, turn around, hide."""
    program = TELLS.replace('"\\u2502 told"', repr(f"told {OBEYED} end"))
    program = program.replace("    print(", "    raise RuntimeError(")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, check=False
    )
    logged = (tmp_path / "told.log").read_text(encoding="utf-8")
    for text in (done.stdout.decode(), done.stderr.decode(), logged):
        assert all(one.isprintable() or one == "\n" for one in text)
    assert logged.count(r"\x1b[2J") >= 3  # told, in the error and in its traceback
    assert r"told \x1b[2J" in done.stderr.decode()
