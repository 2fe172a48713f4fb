"""The page of architectures says what is found, and of every one that TransformerLens knows."""

import re

import pytest

from tools import architectures

# Of each engine one; a mask, positions and a dtype of their own; and of refusals two.
SOME = [
    "MistralForCausalLM", "GPTNeoForCausalLM", "BambaForCausalLM", "XGLMForCausalLM",
    "OpenAIGPTLMHeadModel", "RwkvForCausalLM",
]  # fmt: skip


def test_the_page_names_each_architecture_of_the_registry() -> None:
    text = architectures.PAGE.read_text(encoding="utf-8")
    table, _, rest = text.partition("Not in the table:")
    assert {*architectures.written()} | {*re.findall(r"\b\w+\b", rest)} >= {
        *architectures.registry()
    }
    assert table.count("not tried") == 0
    assert text == architectures.page(architectures.written())


def test_nearly_all_models_are_right_and_the_rest_is_refused() -> None:
    counts, rows = architectures.registry(), architectures.written()
    right = {name for name, result in rows.items() if architectures.is_right(result)}
    assert sum(counts[name] for name in right) >= 0.95 * sum(counts[name] for name in rows)
    assert all(rows[name][0].startswith("refused: ") for name in rows.keys() - right)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_the_page_says_what_is_found(name: str) -> None:
    assert architectures.cells(name) == architectures.written()[name]


def test_one_that_crashes_is_no_end_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(name: str) -> list[str]:
        raise MemoryError("too much") if name == "large" else SystemExit(3)

    monkeypatch.setattr(architectures, "cells", crash)
    assert architectures.tried("large")[0] == "not tried: too much"
    assert architectures.tried("ended")[0] == "not tried: ended with 3"
