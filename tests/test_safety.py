"""What the code never does: unpickle, evaluate text, trust a model's own code, build a shell."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("stable_regions", "scripts", "tools", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLES = {"read_pickle", "to_pickle", "torch.load", "torch.save", "numpy.load", "np.load"}
EVALUATES = {"eval", "exec", "compile", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
STARTS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output"}


def faults(source: str) -> Iterator[str]:
    """What a module does that it must not, a line each."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if isinstance(node, ast.stmt) and {name.partition(".")[0] for name in names} & PICKLING:
            yield f"line {node.lineno}: imports {names[0]}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in UNPICKLES or called.rpartition(".")[2] in UNPICKLES:
            yield f"line {node.lineno}: {called} unpickles"
        if called in EVALUATES:
            yield f"line {node.lineno}: {called} evaluates text"
        if called in SHELLS:
            yield f"line {node.lineno}: {called} starts a shell"
        if (
            called in STARTS
            and node.args
            and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
        ):
            yield f"line {node.lineno}: {called} is given a command as text, not as a list"
        for keyword in node.keywords:
            value = ast.unparse(keyword.value)
            if keyword.arg in ("trust_remote_code", "shell", "allow_pickle") and value != "False":
                yield f"line {node.lineno}: {keyword.arg}={value}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_code_does_nothing_unsafe(path: Path) -> None:
    assert not list(faults(path.read_text()))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_run_scripts_and_nothing_else(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(r"^\s*(?:shell|run|wrapper|notebook)\s*:", text, re.MULTILINE)
    assert not re.findall(r"(?<![\w.])(?:shell|eval|exec|compile)\s*\(|\bpickle\b", text)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import pickle", "imports pickle"),
        ("from joblib import load", "imports joblib"),
        ("import torch\ntorch.load(path)", "torch.load unpickles"),
        ("pd.read_pickle(path)", "unpickles"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("eval(config['steps'])", "eval evaluates"),
        ("yaml.load(text, Loader)", "yaml.load evaluates"),
        ("f(trust_remote_code=entry.trust)", "trust_remote_code=entry.trust"),
        ("subprocess.run(f'cp {path} x', shell=True)", "shell=True"),
        ("subprocess.run(f'cp {path} x')", "as text"),
        ("os.system('ls ' + path)", "starts a shell"),
    ],
)
def test_the_scan_sees_what_it_looks_for(source: str, said: str) -> None:
    assert any(said in fault for fault in faults(source))


def test_the_scan_lets_safe_code_pass() -> None:
    safe = (
        "subprocess.run(['git', path])\nyaml.safe_load(text)\nf(trust_remote_code=False)\n"
        "re.compile(text)\nmodel.eval()\njson.load(file)\n"
    )
    assert not list(faults(safe))
