"""Scripts that fork from a process which has imported their libraries end as if started alone."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from snakemake.script import PythonScript

from scripts import _forking
from scripts._forking import MEMORY, THREADS, by_conda, let_scripts_fork
from stable_regions.base.forking import Server

pytestmark = pytest.mark.process
Run = Callable[..., int]


def servers() -> set[psutil.Process]:
    """Those of this process."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has ended
            if any(word.endswith("/forking.py") for word in child.cmdline()):
                found.add(child)
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    before = servers()
    yield Server(["json.tool", "numpy", "no_such_module"])
    for child in servers() - before:
        child.kill()
        child.wait()


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    """Run lines of Python as a script."""

    def run(
        text: str,
        changes: dict[str, str] | None = None,
        threads: int = 1,
        started: Callable[[int], object] | None = None,
    ) -> int:
        path = Path(mkdtemp(dir=tmp_path), "1.script.py")
        path.write_text(text)
        return server.run(str(path), changes or {}, threads, started)

    return run


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 0),
        ("raise SystemExit", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('why')", 1),
        ("raise RuntimeError('what')", 1),
        ("raise KeyboardInterrupt", 130),
        ("this is no Python", 1),
        ("import no_such_module", 1),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os._exit(5)", 5),
    ],
)
def test_a_script_ends_with_the_status_of_a_process(run: Run, text: str, status: int) -> None:
    assert run(text) == status


def test_what_a_script_prints_is_seen(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("import sys; print('out', flush=False); raise SystemExit('why')")
    run("raise RuntimeError('what')")
    out, err = capfd.readouterr()
    assert out == "out\n"
    assert "why\n" in err
    assert err.endswith("RuntimeError: what\n")


def test_libraries_are_there_and_nothing_of_another_script(run: Run) -> None:
    assert run("import sys; assert 'json.tool' in sys.modules; sys.modules['mark'] = 1") == 0
    assert run("import sys; assert 'mark' not in sys.modules") == 0


def test_a_script_is_the_main_module_and_has_its_environment(run: Run) -> None:
    text = (
        "import os, sys; file = sys.modules['__main__'].__file__; "
        "assert file == sys.argv[0] == __file__ and __name__ == '__main__' and len(sys.argv) == 1; "
        "assert os.environ['GIVEN'] == 'x' and os.environ['PATH']; "
        "assert open('/proc/self/comm').read().strip() == 'script.py'"
    )
    assert run(text, {"GIVEN": "x"}) == 0
    assert "GIVEN" not in os.environ


def test_libraries_use_as_many_threads_as_a_script_is_given(run: Run) -> None:
    text = (
        "from threadpoolctl import threadpool_info\n"
        "assert {{one['num_threads'] for one in threadpool_info()}} == {{{threads}}}"
    )
    for threads in (1, 2):
        assert run(text.format(threads=threads), threads=threads) == 0


def test_several_run_at_once(run: Run, tmp_path: Path) -> None:
    text = (
        "import pathlib, time; pathlib.Path({!r}).touch()\n"
        "while not pathlib.Path({!r}).exists(): time.sleep(0.01)"
    )
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, [text.format(a, b), text.format(b, a)])) == [0, 0]


def test_the_caller_is_told_which_process_it_is_before_the_script_begins(
    run: Run, tmp_path: Path
) -> None:
    """Or a short one has ended before it can be measured."""
    told: list[int] = []
    pid = tmp_path / "pid"

    def started(number: int) -> None:
        time.sleep(0.5)
        assert psutil.pid_exists(number)
        assert not pid.exists()
        told.append(number)

    text = f"import os, pathlib; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    assert run(text, started=started) == 0
    assert told == [int(pid.read_text())]


def test_a_server_that_was_killed_is_replaced(run: Run) -> None:
    before = servers()
    assert run("") == 0
    [first] = servers() - before
    first.kill()
    first.wait()
    assert run("") == 0
    assert first not in servers()


def test_who_watches_a_script_and_is_killed_is_missed(run: Run) -> None:
    assert run("import os, signal; os.kill(os.getppid(), signal.SIGKILL)") == -signal.SIGKILL
    assert run("") == 0


def test_what_ends_a_group_of_processes_is_told(run: Run) -> None:
    """As `timeout` or a scheduler ends one: the script and who watches it, but not the caller."""
    text = "import os; [os.kill(one, 15) for one in (os.getppid(), os.getpid())]"
    assert run(text) == -signal.SIGTERM


def test_a_module_that_is_broken_is_named_by_the_script_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that ended by it would look as if each of its scripts had been killed."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "broken.py").write_text("1 +")
    (tmp_path / "needs.py").write_text("import broken")
    (tmp_path / "needs_not.py").write_text("")
    server = Server(["broken"])
    assert server.run(str(tmp_path / "needs.py"), {}, 1) == 1
    assert "SyntaxError" in capfd.readouterr().err
    assert server.run(str(tmp_path / "needs_not.py"), {}, 1) == 0


def test_an_interrupt_ends_a_server_that_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with it the scripts that wait for it, which else would run to their end."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    begun = tmp_path / "begun"
    (tmp_path / "slow.py").write_text(
        f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )
    before = servers()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Server(["slow"]).run, str(tmp_path / "slow.py"), {}, 1)
        while not begun.exists():
            time.sleep(0.01)
        [server] = servers() - before
        server.send_signal(signal.SIGINT)
        assert waiting.result() == 128 + signal.SIGINT


@pytest.mark.parametrize(("ignored", "status"), [(False, 128 + signal.SIGINT), (True, 0)])
def test_a_script_takes_an_interrupt_as_its_caller_does(
    run: Run, ignored: bool, status: int
) -> None:
    """What a shell's script starts with `&` ignores it."""
    before = signal.getsignal(signal.SIGINT)
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run("import os, time; os.kill(os.getpid(), 2); time.sleep(0.1)") == status
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_script_outlives_its_caller(tmp_path: Path) -> None:
    """As one does whose Snakemake was killed; who watches it says nothing of that."""
    path, end = tmp_path / "x.py", tmp_path / "end"
    path.write_text(f"import pathlib, time; time.sleep(1); pathlib.Path({str(end)!r}).touch()")
    text = (
        "import os; from stable_regions.base.forking import Server; "
        f"Server([]).run({str(path)!r}, {{}}, 1, lambda pid: os.kill(os.getpid(), 9))"
    )
    told = tmp_path / "told"
    with told.open("w") as file:
        done = subprocess.run([sys.executable, "-c", text], stderr=file, check=False)
    assert done.returncode == -signal.SIGKILL
    for _ in range(500):
        if end.exists():
            break
        time.sleep(0.02)
    assert end.exists()
    time.sleep(0.5)  # who watches it notices
    assert told.read_text() == ""


def test_a_server_ends_with_its_caller(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    text = (
        "import sys; from stable_regions.base.forking import Server; "
        f"Server([]).run({str(tmp_path / 'x.py')!r}, {{}}, 1); print('done', flush=True); "
        "sys.stdin.read()"
    )
    caller = psutil.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout.readline() == "done\n"
    [server] = caller.children()
    caller.kill()
    caller.communicate()
    server.wait(10)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")
def test_what_a_job_frees_it_keeps() -> None:
    """It is given its memory once, not anew in each step."""
    steps = (
        "import resource, numpy as np\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def step(): [np.ones(2**21) for _ in range(4)]\n"
        "step(); before = faults()\n"
        "for _ in range(10): step()\n"
        "print(faults() - before)"
    )
    given, anew = (
        int(subprocess.check_output([sys.executable, "-c", steps], env=os.environ | changes))
        for changes in (MEMORY, dict.fromkeys(MEMORY, "131072"))
    )
    assert given < anew / 100


def test_a_rule_s_script_has_its_threads_and_its_folder_for_temporary_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[str, dict[str, str], int]] = []

    def run(_: Server, path: str, changes: dict[str, str], threads: int, measure: Any) -> int:
        started.append((path, changes, threads))
        return 3 if path == "fails.py" else 0

    monkeypatch.setattr(Server, "run", run)
    monkeypatch.setattr(PythonScript, "execute_script", PythonScript.execute_script)
    rule = SimpleNamespace(name="figure", conda_env="../envs/figures.yaml")
    let_scripts_fork(SimpleNamespace(get_rule=lambda name: rule))
    script = SimpleNamespace(
        rulename="figure", threads=5, resources={"tmpdir": "/scratch"}, bench_record=None,
        conda_env=None, container_img=None, env_modules=None,
    )  # fmt: skip
    PythonScript.execute_script(script, "ends.py")
    with pytest.raises(subprocess.CalledProcessError):
        PythonScript.execute_script(script, "fails.py")
    [(_, changes, threads), _] = started
    assert threads == 5
    folders = dict.fromkeys(("TMPDIR", "TMP", "TEMPDIR", "TEMP"), "/scratch")
    assert changes == {f"{name}_NUM_THREADS": "5" for name in THREADS} | folders


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like that of a conda environment, with its conda beside it."""

    def conda(prefix_path: str) -> SimpleNamespace:  # Snakemake's asks the one that is installed
        return SimpleNamespace(
            shellcmd=lambda place, line: f"source {prefix_path}/bin/activate '{place}'; {line}"
        )

    monkeypatch.setattr(_forking, "Conda", conda)
    (tmp_path / "base" / "bin").mkdir(parents=True)
    (tmp_path / "base" / "bin" / "activate").write_text("export ACTIVE=$1 PATH=$1/bin:$PATH\n")
    (tmp_path / "env" / "bin").mkdir(parents=True)
    python = tmp_path / "env" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path / "env"


def test_a_server_has_the_python_of_an_active_conda_environment(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no packages of others."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "x.py").write_text(
        "import os, sys; assert 'json.tool' in sys.modules; "
        f"assert os.environ['ACTIVE'] == {str(environment)!r}; "
        "assert 'PYTHONPATH' not in os.environ"
    )
    server = by_conda(["json.tool"], str(tmp_path / "base"), str(environment))
    assert server.run(str(tmp_path / "x.py"), {}, 1) == 0


def test_a_conda_that_activates_nothing_is_told(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    (tmp_path / "base" / "bin" / "activate").write_text("return 7\n")
    server = by_conda([], str(tmp_path / "base"), str(environment))
    assert server.run(str(tmp_path / "x.py"), {}, 1) == 7


def test_the_scripts_of_an_environment_share_a_server(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of conda's its own; what is to run in a container, or lacks a Python, starts alone."""
    at_work: list[Server] = []
    alone: list[str] = []

    def run(server: Server, *_: object) -> int:
        at_work.append(server)
        return 0

    monkeypatch.setattr(Server, "run", run)
    monkeypatch.setattr(
        PythonScript, "execute_script", lambda script, path, edit=False: alone.append(path)
    )
    rule = SimpleNamespace(name="figure", conda_env="../envs/figures.yaml")
    let_scripts_fork(SimpleNamespace(get_rule=lambda name: rule))
    known = {"rulename": "figure", "threads": 1, "resources": {}, "bench_record": None,
             "container_img": None, "env_modules": None, "conda_env": None,
             "conda_base_path": str(tmp_path / "base")}  # fmt: skip
    for changes in ({}, {}, *[{"conda_env": str(environment)}] * 2):
        PythonScript.execute_script(SimpleNamespace(**known | changes), "x.py")
    plain, again, conda, once_more = at_work
    assert plain is again
    assert conda is once_more
    assert conda is not plain
    for changes in ({"container_img": "some.sif"}, {"conda_env": str(tmp_path / "base")}):
        PythonScript.execute_script(SimpleNamespace(**known | changes), "alone.py")
    assert alone == ["alone.py"] * 2
    assert len(at_work) == 4
