"""Say in one line why .venv cannot be set up here. Runs on any Python, however old."""

import shutil
import sys

NEEDED = 2.3  # GB of disk, with the CPU's build of torch

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    message = "error: Python 3.11 to 3.13 is needed; {} is {} (`make PYTHON=...` takes another)"
    sys.exit(message.format(sys.executable, sys.version.split()[0]))
free = shutil.disk_usage(".").free / 1e9
if free < NEEDED:
    sys.exit("error: .venv takes {} GB of disk; {:.1f} GB are free here".format(NEEDED, free))
