"""Scripts in processes that fork from one which has imported what they would import.

`Server` is the caller's side. The other is this file as a program: it imports modules, which is all
that it does by itself, and forks for each script that it is sent. So none of its threads is at work
when it forks, and what a script does is gone with its process. A script ends at its last line: what
libraries do at the end of a Python (`atexit`) is left out.
"""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).resolve().parents[2]
FORKS = sys.platform == "linux"  # elsewhere libraries do not bear it
LONGEST = 2**16  # bytes of a request


class Server:
    """A process that has imported modules; it starts with the first script, and ends with this.

    Parameters
    ----------
    modules
        What it imports, by name: of this checkout, or installed.
    python
        The command that starts its Python.
    environment
        Given to it, in place of this process's.
    """

    def __init__(
        self,
        modules: Iterable[str],
        python: Sequence[str] = (sys.executable,),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._modules = list(modules)
        self._python, self._environment = python, environment
        self._lock = Lock()
        self._at_work: tuple[subprocess.Popen[bytes], socket.socket] | None = None

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
            Is given the number of its process, before the script begins.

        Returns
        -------
        The status that it ended with; minus the number of the signal that ended it. Of a server
        that has ended before it could fork: the server's own.
        """
        request = json.dumps([script, dict(changes), threads]).encode()
        ours, its = socket.socketpair()
        with ours, ours.makefile("rb") as answers:
            with its:
                process = self._send(request, its.fileno())
            if not (pid := answers.readline()):
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=5) or 1
                return -signal.SIGKILL
            if started:
                started(int(pid))
            with suppress(OSError):  # it was killed meanwhile
                ours.sendall(b"\n")
            return int(answers.readline() or -signal.SIGKILL)

    def _send(self, request: bytes, answers: int) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._at_work is not None and self._at_work[0].poll() is not None:
                self._at_work[1].close()
                self._at_work = None
            process, requests = self._at_work = self._at_work or self._start()
            with suppress(OSError):  # it has ended: the caller is not answered
                socket.send_fds(requests, [request], [answers])
            return process

    def _start(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        # each request is one message; when this end closes, the other reads an empty one
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [*self._python, "-P", __file__, str(its.fileno()), *self._modules]
        with its:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                env=self._environment,
            )
        return process, ours


def serve(requests: socket.socket, modules: Iterable[str]) -> None:
    """Fork for each request, until there can be no more."""
    sys.path.insert(0, str(ROOT))
    for module in modules:
        with suppress(Exception):  # a script that needs it imports it again, and says what is wrong
            import_module(module)
    gc.collect()
    gc.freeze()  # a child's collections touch nothing that it shares
    # libraries have threads that wait, which no script misses
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child is waited for
    # a terminal sends it to all of its processes; this one ends with its caller
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, LONGEST, 1)
        if not request:
            return
        [answers] = descriptors
        if not os.fork():
            requests.close()
            _watch(socket.socket(fileno=answers), interrupt, *json.loads(request))
        os.close(answers)


def _watch(
    caller: socket.socket, interrupt: object, script: str, changes: dict[str, str], threads: int
) -> None:
    """Fork once more, and tell the caller how that ends; this process does nothing else."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # what ends a group of processes is to end the script, and then to be told
    terminate = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child, status = os.fork(), 1
    try:
        if child:
            caller.sendall(b"%d\n" % child)
            _, ended = os.waitpid(child, 0)
            caller.sendall(b"%d\n" % os.waitstatus_to_exitcode(ended))
        else:
            signal.signal(signal.SIGTERM, terminate)
            signal.signal(signal.SIGINT, interrupt)  # type: ignore[arg-type]
            caller.recv(1)
            caller.close()
            status = _run(script, changes, threads)
            sys.stdout.flush()
            sys.stderr.flush()
    finally:  # whatever happens, be it that the caller is no more: neither is to go on as a server
        os._exit(0 if child else status)


def _run(script: str, changes: dict[str, str], threads: int) -> int:
    """Run a script in this process as if it had been started with it; the status it ends with."""
    os.environ.update(changes)
    tempfile.tempdir = None  # a library may have asked for it
    with suppress(OSError):  # `ps` and `top` know it by its script
        Path("/proc/self/comm").write_text(Path(script).name.partition(".")[2], encoding="utf-8")
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
    try:
        with socket.socket(fileno=int(sys.argv[1])) as own:
            serve(own, sys.argv[2:])
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
