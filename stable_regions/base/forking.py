"""Scripts in processes that fork from one which has imported what they would import.

`Server` is the caller's side. The other is this file as a program: it imports modules, which is all
that it does by itself, and forks for each script that it is sent. So it has one thread, as what
forks should have, and what a script does is gone with its process.
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
FORKS = sys.platform == "linux"  # elsewhere libraries do not bear it
LONGEST = 2**16  # bytes of a request


class Server:
    """A process that has imported modules; it starts with the first script, and ends with this.

    Parameters
    ----------
    modules
        What it imports, by name: of this checkout, or installed.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = list(modules)
        self._lock = Lock()
        self._socket: socket.socket | None = None

    def run(
        self,
        script: str,
        changes: Mapping[str, str],
        threads: int,
        started: Callable[[int], object] | None = None,
    ) -> int:
        """Run a script to its end; several may run at once.

        Parameters
        ----------
        changes
            To the environment that this process had when the first script was run.
        threads
            Of libraries that read their number from the environment when they are imported.
        started
            Is given the number of its process.

        Returns
        -------
        The status that it ended with; minus the number of the signal that ended it.
        """
        request = json.dumps([script, dict(changes), threads]).encode()
        with ExitStack() as stack:
            reading, writing = os.pipe()
            answers = stack.enter_context(open(reading, "rb"))
            try:
                self._send(request, writing)
            finally:
                os.close(writing)
            if not (pid := _number(answers)):
                return -signal.SIGKILL  # with its server
            if started:
                started(pid)
            status = _number(answers)
            return -signal.SIGKILL if status is None else status

    def _send(self, request: bytes, writing: int) -> None:
        with self._lock:
            for again in (False, True):
                if self._socket is None:
                    self._socket = self._start()
                try:
                    socket.send_fds(self._socket, [request], [writing])
                    return
                except OSError:  # it is no more: another one
                    self._socket.close()
                    self._socket = None
                    if again:
                        raise

    def _start(self) -> socket.socket:
        # each request is one message; when this end closes, the other reads an empty one
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", __file__, str(its.fileno()), *self._modules]
        with its:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()])
        return ours


def _number(lines: BinaryIO) -> int | None:
    """The number in the next line; None at the end."""
    return int(line) if (line := lines.readline()).endswith(b"\n") else None


def serve(requests: socket.socket, modules: Iterable[str]) -> None:
    """Fork for each request, until there can be no more."""
    # what a terminal sends goes to all its processes: scripts end by it, and with them the caller
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child is waited for
    sys.path.insert(0, str(ROOT))
    for module in modules:
        with suppress(ImportError):  # then a script that needs it says so
            import_module(module)
    gc.collect()
    gc.freeze()  # a child's collections touch nothing that it shares
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LONGEST, 1)
        if not request:
            return
        [answers] = descriptors
        if not os.fork():
            requests.close()
            _watch(answers, *json.loads(request))
        os.close(answers)


def _watch(answers: int, script: str, changes: dict[str, str], threads: int) -> None:
    """Fork once more, and tell how that ends; this process waits, and does nothing else."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        os.write(answers, b"%d\n" % child)
        _, status = os.waitpid(child, 0)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(answers)
    status = 1
    try:
        status = _run(script, changes, threads)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # whatever happens: a child is not to go on as a server
        os._exit(status)


def _run(script: str, changes: dict[str, str], threads: int) -> int:
    """Run a script in this process as if it had been started with it; the status it ends with."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(changes)
    with suppress(OSError):  # `ps` and `top` know it by its script
        Path("/proc/self/comm").write_text(Path(script).name.partition(".")[2])
    with suppress(ImportError):  # nor is there a library with threads then
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    sys.argv = [script]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException:  # of whatever kind: the process is to end here
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own, sys.argv[2:])
