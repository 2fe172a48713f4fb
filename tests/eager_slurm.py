"""Snakemake that looks at its entries in Slurm's queue every second.

The plugin waits ten seconds longer after each look at which no entry has ended. That spares a
cluster, but not a test, whose entries take seconds.
"""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda _: 1, lambda *_: None)
sys.exit(main())
