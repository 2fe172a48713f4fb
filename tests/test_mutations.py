"""The list of mutations: each can still be tried. `python tools/mutations.py run` tries them."""

import ast
from pathlib import Path

import pytest

from tests.tiny_study import ROOT
from tools import mutations


@pytest.mark.parametrize("module", sorted({each.module for each in mutations.read_list()}))
def test_mutations_change_a_line_that_is_there_once(tmp_path: Path, module: str) -> None:
    copy = tmp_path / module
    copy.parent.mkdir(parents=True)
    text = (ROOT / module).read_text(encoding="utf-8")
    for mutation in mutations.read_list():
        if mutation.module == module:
            copy.write_text(text, encoding="utf-8")
            assert mutation.apply(tmp_path) == text
            changed = copy.read_text(encoding="utf-8")
            assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), mutation


def test_a_line_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("a = 1\nb = 2\nb = 2\n")
    for line, places in {"c = 3": 0, "b = 2": 2}.items():
        with pytest.raises(ValueError, match=f"module.py: {places} lines are '{line}'"):
            mutations.Mutation("module.py", line, "d = 4").apply(tmp_path)
    assert mutations.Mutation("module.py", "a = 1", "a = 2").apply(tmp_path).startswith("a = 1")
    assert (tmp_path / "module.py").read_text() == "a = 2\nb = 2\nb = 2\n"


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
    assert covering.tests_of(outside, tmp_path) == [other, short, long]
