"""Change the code in small ways, and see whether the unit tests notice.

    python tools/mutations.py run [--jobs 2] [--only TEXT] [--living]
    python tools/mutations.py draw COUNT [--seed 0]

`draw` adds COUNT mutations of each part to the list, tests/mutations.yaml: a comparison, an
operator, a constant or a condition of one line turned into another, drawn at random from the
modules whose faults would be wrong numbers or lost files. `run` tries each in a copy of the
checkout: first the test that killed it last time, then all modules of unit tests that call the
function it is in, the shortest first, and then the other tests, but for whole workflows, of modules
that name its module. It writes into the list which test fails, and prints the share that was killed
and what lives. A mutation that changes nothing that can be observed has a
reason in the list (`equivalent`), and is not tried. One whose line is gone leaves the list.
"""

import argparse
import ast
import builtins
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutations.yaml"
HEAD = (
    "# Made by `python tools/mutations.py`: changes of one line, and the test that notices each.\n"
    "# Of one that lives and cannot be observed a person writes why, as `equivalent`.\n"
)
# As many are drawn of each, by chance among what each has.
PARTS = {
    "engine": ("stable_regions/models/*.py",),
    "measures": (
        "stable_regions/measures/*.py",
        "stable_regions/experiments/**/*.py",
        "stable_regions/prompts/*.py",
    ),
    "clustering": (
        "stable_regions/measures/clusters.py",
        "stable_regions/experiments/pairwise/*.py",
    ),
    "claims": ("stable_regions/paper/*.py",),
    "files": ("stable_regions/base/*.py", "stable_regions/sources/*.py"),
    "records": tuple(
        f"stable_regions/audit/{name}.py"
        for name in ("records", "provenance", "reference", "manifest", "replay", "sample")
    ),
}
# What takes seconds to import, and is the same for each mutation.
WARM = ("pytest", "hypothesis", "pandas", "seaborn", "torch", "transformers", "transformer_lens")
TIMEOUT_S = 900  # all unit tests take a quarter of this in one process
NO_TESTS = 5  # pytest's status where a module has no unit test
BROKEN = 70  # the status of a process in which not a test but this tool failed
KILLED = 100  # the status of one in which a test failed, and which group it is of
WORKFLOWS = "workflow or browser or slurm or conda"
COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"), ast.Pow: ("**", "*"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip


@dataclass
class Mutation:
    """One line of a module, which stands there once, and what is put in its place."""

    module: str
    line: str
    becomes: str
    killed_by: str | None = None
    no_unit_test: bool | None = None  # but another one
    equivalent: str | None = None

    def apply(self, folder: Path) -> str | None:
        """Change the module in a checkout, and return its text as it was.

        None, and no change, if the line is not there, or more than once.
        """
        path = folder / self.module
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")
        places = [number for number, each in enumerate(lines) if each.strip() == self.line]
        if len(places) != 1:
            return None
        [at] = places
        lines[at] = lines[at].replace(self.line, self.becomes)
        path.write_text("\n".join(lines), encoding="utf-8")
        return text


def read_list() -> list[Mutation]:
    if not LIST.exists():
        return []
    return [Mutation(**each) for each in yaml.safe_load(LIST.read_text(encoding="utf-8"))]


def write_list(mutations: Sequence[Mutation]) -> None:
    kept = [{k: v for k, v in asdict(each).items() if v is not None} for each in mutations]
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=200)
    LIST.write_text(HEAD + text, encoding="utf-8")


def changes(tree: ast.AST, lines: Sequence[str]) -> Iterator[tuple[int, int, int, str]]:
    """Line number, columns and new text of every small change of some code.

    Columns are counted as `ast` does, in bytes of UTF-8.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
                yield from _between(left, right, COMPARISONS[type(operator)], lines)
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            yield from _between(node.left, node.right, OPERATORS[type(node.op)], lines)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from _between(left, right, OPERATORS[type(node.op)], lines)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            length = 3 if isinstance(node.op, ast.Not) else 1
            yield node.lineno, node.col_offset, node.col_offset + length, ""
        elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
            value = node.value
            assert isinstance(value, int | float)
            value = not value if isinstance(value, bool) else value + 1
            assert node.end_col_offset is not None
            yield node.lineno, node.col_offset, node.end_col_offset, str(value)
        elif isinstance(node, ast.If | ast.IfExp) and node.test.lineno == node.test.end_lineno:
            assert node.test.end_col_offset is not None
            inside = lines[node.test.lineno - 1].encode()[
                node.test.col_offset : node.test.end_col_offset
            ]
            where = node.test.lineno, node.test.col_offset, node.test.end_col_offset
            yield *where, f"(not ({inside.decode()}))"


def _between(
    left: ast.expr, right: ast.expr, change: tuple[str, str], lines: Sequence[str]
) -> Iterator[tuple[int, int, int, str]]:
    """The change of an operator that stands on one line with both of its sides."""
    if left.end_lineno != right.lineno:
        return
    assert left.end_col_offset is not None
    old, new = change
    gap = lines[right.lineno - 1].encode()[left.end_col_offset : right.col_offset].decode()
    if gap.count(old) == 1:
        yield right.lineno, left.end_col_offset, right.col_offset, gap.replace(old, new)


def possible(module: Path) -> list[Mutation]:
    """Every mutation of a module, of lines that stand there once."""
    text = module.read_text(encoding="utf-8")
    tree, lines = ast.parse(text), text.split("\n")
    stripped = [line.strip() for line in lines]
    found = []
    for number, start, end, new in changes(_code(tree), lines):
        raw, line = lines[number - 1].encode(), stripped[number - 1]
        becomes = (raw[:start] + new.encode() + raw[end:]).decode().strip()
        if stripped.count(line) == 1 and becomes != line:
            found.append(Mutation(module.relative_to(ROOT).as_posix(), line, becomes))
    return found


def _code(tree: ast.Module) -> ast.Module:
    """A module without annotations, which are checked as types, and the texts of its messages."""

    class Bare(ast.NodeTransformer):
        def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
            return ast.copy_location(ast.Constant(""), node)

        def visit_arg(self, node: ast.arg) -> ast.arg:
            node.annotation = None
            return node

        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
            node.returns = None
            self.generic_visit(node)
            return node

        def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
            node.annotation = ast.Constant("", lineno=0, col_offset=0)
            self.generic_visit(node)
            return node

    return Bare().visit(tree)


def draw(count: int, seed: int) -> None:
    """Add mutations to the list, of each part so many."""
    known = read_list()
    taken = {(each.module, each.line) for each in known}
    for part, patterns in PARTS.items():
        modules = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
        every = [each for module in modules for each in possible(module)]
        random.Random(f"{part} {seed}").shuffle(every)
        # one of each line
        of_line = {(each.module, each.line): each for each in reversed(every)}
        new = [each for each in every if of_line[each.module, each.line] is each]
        new = [each for each in new if (each.module, each.line) not in taken][:count]
        taken |= {(each.module, each.line) for each in new}
        known += new
        print(f"{part}: {len(new)} of {len(every)} that can be drawn")
    write_list(known)


def function_at(module: Path, line: str) -> str | None:
    """The qualified name of the innermost function around a line, if it is in one."""
    text = module.read_text(encoding="utf-8")
    stripped = [each.strip() for each in text.split("\n")]
    if line not in stripped:
        return None
    at = 1 + stripped.index(line)
    name, inside = None, ast.parse(text).body
    prefix = ""
    while True:
        found = [
            node
            for node in inside
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and node.lineno <= at <= (node.end_lineno or 0)
        ]
        if not found:
            return name
        [node] = found
        if isinstance(node, ast.FunctionDef):
            name = f"{prefix}{node.name}"
            prefix = f"{name}.<locals>."
        else:
            prefix = f"{prefix}{node.name}."
        inside = node.body


@dataclass
class Covering:
    """Which functions of the library each module of tests calls, and how long it takes."""

    seconds: dict[str, float]
    calls: dict[str, set[tuple[str, str]]]

    def tests_of(self, mutation: Mutation, folder: Path) -> list[str]:
        """The modules of tests that can notice a mutation, the shortest first."""
        name = function_at(folder / mutation.module, mutation.line)
        found = [
            tests
            for tests, calls in self.calls.items()
            if name is None or (mutation.module, name) in calls  # None: whoever imports it
        ]
        return sorted(found, key=lambda tests: self.seconds[tests])


def pytest_in(folder: Path, tests: Sequence[str], marks: str, log: Path, failures: int = 1) -> int:
    """Run some tests on a checkout in this process, until so many fail; pytest's status."""
    signal.alarm(TIMEOUT_S)  # and then this process ends
    os.chdir(folder)
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.path[:] = [str(folder), *(each for each in sys.path if each != str(ROOT / "tools"))]
    import pytest

    return int(
        pytest.main(
            [
                f"--maxfail={failures}",
                "-q",
                "--tb=no",
                "-p",
                "no:cacheprovider",
                "-m",
                marks,
                *tests,
            ]
        )
    )


def log_of(folder: Path, name: str = "tests") -> Path:
    """A file beside a checkout: what lies in it, tests may take for a part of it."""
    return folder.with_name(f"{folder.name}.{name}.log")


def start(what: Callable[[], int]) -> int:
    """Do something in a process that forks from this one, and has its libraries; its number."""
    if pid := os.fork():
        return pid
    code = BROKEN
    try:
        code = what()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code & 255)


def instrument(folder: Path) -> None:
    """Have each function of the library in a checkout note that it is called."""

    def note(inside: Sequence[ast.stmt], module: str, prefix: str) -> None:
        for node in inside:
            if isinstance(node, ast.ClassDef):
                note(node.body, module, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                note(node.body, module, f"{prefix}{node.name}.<locals>.")
                call = f"called.add(({module!r}, {prefix + node.name!r}))"
                at = 0 if ast.get_docstring(node) is None else 1
                node.body[at:at] = ast.parse(call).body

    for path in (folder / "stable_regions").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        note(tree.body, path.relative_to(folder).as_posix(), "")
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")


def cover(jobs: int, folder: Path, plain: Path) -> Covering:
    """Run each module of tests by itself, and note what it calls.

    Parameters
    ----------
    folder
        A checkout that is changed for it.
    plain
        One that stays as it is.

    Raises
    ------
    SystemExit
        A test fails without any mutation.
    """
    instrument(folder)
    names = sorted(path.name for path in (folder / "tests").glob("test_*.py"))
    waiting = [name for name in names if name != "test_mutations.py"]  # which asks for the result
    running: dict[int, tuple[str, float]] = {}
    covering = Covering({}, {})

    def noted(name: str) -> int:
        called: set[tuple[str, str]] = set()
        vars(builtins)["called"] = called
        log = log_of(folder, name)
        status = pytest_in(folder, [f"tests/{name}"], unit_marks(), log, failures=1000)
        log_of(folder, f"{name}.calls").write_text(json.dumps(sorted(called)), encoding="utf-8")
        return status

    while waiting or running:
        if waiting and len(running) < jobs:
            name = waiting.pop(0)
            running[start(partial(noted, name))] = name, time.monotonic()
            continue
        pid, status = os.wait()
        name, began = running.pop(pid)
        tests = f"tests/{name}"
        if os.waitstatus_to_exitcode(status) not in (0, NO_TESTS):
            # it may be one that reads the library's source
            pid = start(partial(pytest_in, plain, [tests], unit_marks(), log_of(plain, name)))
            if os.waitpid(pid, 0)[1]:
                sys.exit(f"error: {tests}: fails as it is: mend it first")
        calls = json.loads(log_of(folder, f"{name}.calls").read_text(encoding="utf-8"))
        covering.seconds[tests] = time.monotonic() - began
        covering.calls[tests] = {(module, of) for module, of in calls}
    return covering


def groups_of(mutation: Mutation, covering: Covering, folder: Path) -> list[tuple[list[str], str]]:
    """What can notice a mutation, and by which marks: known, unit tests, and others."""
    known = mutation.killed_by or ""
    package, _, name = mutation.module.removesuffix(".py").replace("/", ".").rpartition(".")
    names = re.compile(rf"{re.escape(package)}(\.| import .*\b){name}\b")
    others = [
        f"tests/{path.name}"
        for path in sorted((folder / "tests").glob("test_*.py"))
        if names.search(path.read_text(encoding="utf-8"))
    ]
    return [
        ([known] if "::" in known else [], f"not ({WORKFLOWS})"),
        (covering.tests_of(mutation, folder), unit_marks()),
        (others, f"(process or hub or slow) and not ({WORKFLOWS})"),
    ]


def tried(groups: Sequence[tuple[Sequence[str], str]], folder: Path) -> int:
    """Run tests on a mutated checkout, a group after the other, until one fails; 0 if none does."""
    for number, (tests, marks) in enumerate(groups):
        if tests:
            # a process each: a module of the library is imported once
            pid = start(partial(pytest_in, folder, tests, marks, log_of(folder)))
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status == BROKEN:
                return BROKEN
            if status not in (0, NO_TESTS):
                return KILLED + number
    return 0


def unit_marks() -> str:
    """Which tests `make unit` runs."""
    [marks] = re.findall(r'\$\(PYTEST\) -m "(.*)"', (ROOT / "Makefile").read_text(encoding="utf-8"))
    return marks


def copies(count: int, where: Path) -> list[Path]:
    """Copies of the checkout, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    folders = [where / str(number) for number in range(count)]
    for folder in folders:
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
    return folders


def run(jobs: int, only: str, living: bool) -> int:
    """Try the mutations of the list; 1 if one lives that is not known to be equivalent."""
    mutations = read_list()
    waiting = [each for each in mutations if only in each.module and not each.equivalent]
    waiting = [each for each in waiting if not (living and each.killed_by)]
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for name in WARM:
        import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutations-") as where:
        instrumented, *free = copies(jobs + 1, Path(where))
        print("what each module of tests calls ...", flush=True)
        covering = cover(jobs, instrumented, free[0])
        running: dict[int, tuple[Mutation, Path, str]] = {}
        when = time.time()
        while waiting or running:
            if waiting and free:
                mutation, folder = waiting.pop(0), free.pop()
                groups = groups_of(mutation, covering, folder)
                before = mutation.apply(folder)
                if before is None:
                    print(f"gone: {mutation.module}: {mutation.line}", flush=True)
                    mutations.remove(mutation)
                    free.append(folder)
                    continue
                # a second apart, so that what is compiled of one mutation is not taken for another
                when += 2
                os.utime(folder / mutation.module, (when, when))
                log_of(folder).write_text("", encoding="utf-8")
                pid = start(partial(tried, groups, folder))
                running[pid] = (mutation, folder, before)
                continue
            pid, status = os.wait()
            mutation, folder, before = running.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if code == BROKEN:
                sys.exit(f"error: {mutation.module}: {mutation.becomes}: cannot be tried")
            said = log_of(folder).read_text(encoding="utf-8", errors="replace")
            failed = re.findall(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", said, re.MULTILINE)
            mutation.killed_by = failed[-1] if failed and code else None
            if code and not failed:
                mutation.killed_by = "tests"  # such as one that never ends
            if code != KILLED:  # by what was known
                mutation.no_unit_test = True if code == KILLED + 2 else None
            fate = mutation.killed_by or "LIVES"
            print(f"{fate}: {mutation.module}: {mutation.becomes}", flush=True)
            (folder / mutation.module).write_text(before, encoding="utf-8")
            when += 2
            os.utime(folder / mutation.module, (when, when))
            free.append(folder)
            write_list(mutations)
    alive = [each for each in mutations if not each.killed_by and not each.equivalent]
    killed = [each for each in mutations if each.killed_by]
    unit = sum(1 for each in killed if not each.no_unit_test)
    print(
        f"{len(mutations)} mutations: {unit} killed by unit tests, {len(killed) - unit} by others; "
        f"{len(alive)} live, {len(mutations) - len(killed) - len(alive)} cannot be observed"
    )
    return bool(alive)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="try the mutations of the list")
    running.add_argument("--jobs", type=int, default=2)
    running.add_argument("--only", default="", help="those of modules whose path has this in it")
    running.add_argument("--living", action="store_true", help="those that no test has killed")
    drawing = commands.add_parser("draw", help="add mutations to the list")
    drawing.add_argument("count", type=int, help="so many of each part")
    drawing.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.command == "draw":
        draw(args.count, args.seed)
        return 0
    return run(args.jobs, args.only, args.living)


if __name__ == "__main__":
    sys.exit(main())
