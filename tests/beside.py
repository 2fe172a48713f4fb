"""Runs that go on beside the tests, most of which leave a core idle."""

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil


class Beside(NamedTuple):
    """A command at work in a folder; what it prints is in the folder's `printed`."""

    folder: Path
    process: subprocess.Popen[bytes]

    def ended(self) -> Path:
        """Wait for its end; the folder, if it has ended well."""
        ended = self.process.wait(1800)
        assert ended == 0, (self.folder / "printed").read_text()[-3000:]
        return self.folder


@contextmanager
def beside(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Beside]:
    """Start a command in a folder; interrupt it and all that it started if it is not waited for."""
    with open(folder / "printed", "wb") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=printed, stderr=subprocess.STDOUT
        )
    try:
        yield Beside(folder, process)
    finally:
        if process.poll() is None:
            started = psutil.Process(process.pid)
            for each in [*started.children(recursive=True), started]:
                each.send_signal(signal.SIGINT)
            process.wait(60)
