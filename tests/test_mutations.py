"""The list of mutations: each can still be tried. `python tools/mutations.py run` tries them."""

import ast
from pathlib import Path

import pytest

from tests.tiny_study import ROOT
from tools import mutations


def test_enough_of_the_list_can_be_tried(tmp_path: Path) -> None:
    """Each changes what the code does, and nine in ten are noticed or known to change nothing."""
    tried = []
    for mutation in mutations.read_list():
        copy = tmp_path / mutation.module
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / mutation.module).read_text(encoding="utf-8")
        copy.write_text(text, encoding="utf-8")
        before = mutation.apply(tmp_path)
        changed = copy.read_text(encoding="utf-8")
        if before is None:
            assert changed == text
            continue
        assert before == text
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), mutation
        tried.append(mutation)
    assert len(tried) >= 100
    known = [each for each in tried if each.killed_by or each.equivalent]
    assert len(known) >= 0.9 * len(tried)


def test_a_line_is_changed_that_is_there_once(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("a = 1\nb = 2\nb = 2\n")
    for line in ("c = 3", "b = 2"):
        assert mutations.Mutation("module.py", line, "d = 4").apply(tmp_path) is None
    assert module.read_text() == "a = 1\nb = 2\nb = 2\n"
    assert mutations.Mutation("module.py", "a = 1", "a = 2").apply(tmp_path) is not None
    assert module.read_text() == "a = 2\nb = 2\nb = 2\n"


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("if a < b:\n    pass", {"if a <= b:", "if (not (a < b)):"}),
        ("x = a + 1", {"x = a - 1", "x = a + 2"}),
        ("x = -(a // 2)", {"x = (a // 2)", "x = -(a * 2)", "x = -(a // 3)"}),
        ("x = not a and b", {"x =  a and b", "x = not a or b"}),
        ('f"{a + 1} ä" + b[True]', {'f"{a + 1} ä" - b[True]', 'f"{a + 1} ä" + b[False]'}),
        ("def f(x: 1 + 1) -> 2:\n    return x is None", {"return x is not None"}),
    ],
)  # fmt: skip
def test_what_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, becomes: set[str]
) -> None:
    """Operators, constants and conditions; neither annotations nor the texts of messages."""
    monkeypatch.setattr(mutations, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(line, encoding="utf-8")
    assert {each.becomes for each in mutations.possible(tmp_path / "module.py")} == becomes


@pytest.mark.parametrize(
    ("line", "function"),
    [
        ("a = 1", None), ("b = 2", "f"), ("c = 3", "f.<locals>.g"), ("d = 4", None),
        ("e = 5", "C.h"), ("i = 9", "f"),
    ],
)  # fmt: skip
def test_the_function_around_a_line(tmp_path: Path, line: str, function: str | None) -> None:
    text = (
        "a = 1\ndef f():\n    b = 2\n    def g():\n        c = 3\n    i = 9\n"
        "class C:\n    d = 4\n    def h(self):\n        e = 5\n"
    )
    (tmp_path / "module.py").write_text(text)
    assert mutations.function_at(tmp_path / "module.py", line) == function


def test_a_mutation_is_tried_by_what_calls_its_function(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("a = 1\ndef f():\n    b = 2\n")
    covering = mutations.Covering(
        {"tests/test_long.py": 9, "tests/test_other.py": 1, "tests/test_short.py": 2},
        {
            "tests/test_long.py": {("m.py", "f")},
            "tests/test_other.py": {("n.py", "f"), ("m.py", "g")},
            "tests/test_short.py": {("m.py", "f"), ("m.py", "g")},
        },
    )
    inside, outside = (mutations.Mutation("m.py", line, "c = 3") for line in ("b = 2", "a = 1"))
    long, other, short = sorted(covering.seconds)
    assert covering.tests_of(inside, tmp_path) == [short, long]
    assert covering.tests_of(outside, tmp_path) == [other, short, long]  # on import
