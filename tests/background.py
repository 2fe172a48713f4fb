"""Runs that go on beside the tests: one after another, so that two cores have two things to do.

With more at once each takes longer, and so do all together.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil

LIMIT = 3600  # seconds that a test waits for one


@dataclass
class BackgroundRun:
    """A command that has its turn in a folder; what it prints goes to the folder's `printed`."""

    folder: Path
    command: Sequence[str]
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))  # not the tests' changes
    given: Any = None  # what its tests need besides
    status: int | None = None
    over: Event = field(default_factory=Event)

    def ended(self) -> Path:
        """Wait for its end; the folder, if it has ended well."""
        assert self.over.wait(LIMIT), self.said()[-3000:]
        assert self.status == 0, self.said()[-3000:]
        return self.folder

    def said(self) -> str:
        """What it has printed."""
        printed = self.folder / "printed"
        return printed.read_text() if printed.exists() else "it has not begun"


class Turns(Thread):
    """Gives runs their turns."""

    def __init__(self, runs: Sequence[BackgroundRun]) -> None:
        super().__init__(daemon=True)
        self.runs = runs
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = Event()

    def run(self) -> None:
        try:
            for each in self.runs:
                if not self.stopped.is_set():
                    each.status = self.work(each)
                each.over.set()
        finally:  # nobody waits for what does not come
            for each in self.runs:
                each.over.set()

    def work(self, run: BackgroundRun) -> int:
        run.folder.mkdir(exist_ok=True)
        with open(run.folder / "printed", "wb") as printed:
            self.process = subprocess.Popen(
                run.command, cwd=run.folder, env=run.env, stdout=printed, stderr=printed
            )
        return self.process.wait()

    def stop(self) -> None:
        """Interrupt the one that is at work and all that it has started; no other begins."""
        self.stopped.set()
        if self.process is not None and self.process.poll() is None:
            started = psutil.Process(self.process.pid)
            for process in [*started.children(recursive=True), started]:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)
        self.join(60)
