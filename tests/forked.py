"""Snakemake in a process that forks from one which has imported it.

To import it, and what the Snakefile needs, takes a second and a half, and tests start it a hundred
times. Other tests start the program itself.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from stable_regions.base.forking import Server

ROOT = Path(__file__).parent.parent
SERVER = Server(["snakemake.cli", "scripts._forking", "stable_regions.study.work"])
# What a program of its own would be given, and what it does at its end.
SCRIPT = """
import atexit, os, sys
os.chdir({cwd!r})
os.environ.clear()
os.environ.update({environment!r})
for number, name in enumerate(("out", "err"), 1):
    os.dup2(os.open(os.path.join({place!r}, name), os.O_CREAT | os.O_WRONLY), number)
sys.argv = {command!r}
from snakemake.cli import main
try:
    main()
finally:
    atexit._run_exitfuncs()
"""


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on this checkout's workflow, with the arguments of its command line."""
    command = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    environment = dict(os.environ)
    # no process starts here, but a test that does this is to be marked as if one did
    sys.audit("subprocess.Popen", command[0], command, os.getcwd(), environment)
    with TemporaryDirectory() as place:
        script = Path(place, "1.snakemake.py")
        script.write_text(
            SCRIPT.format(cwd=os.getcwd(), environment=environment, place=place, command=command),
            encoding="utf-8",
        )
        status = SERVER.run(str(script), {}, 1)
        out, err = (Path(place, name).read_text(encoding="utf-8") for name in ("out", "err"))
    return subprocess.CompletedProcess(command, status, out, err)
