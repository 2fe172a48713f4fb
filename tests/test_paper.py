"""The paper's source: no number is typed by hand, and any part of a study can be set."""

import json
import re
import shutil
from pathlib import Path

import pytest
import typst

from stable_regions.paper.numbers import constants
from tests.tiny_study import ROOT

PAPER = ROOT / "paper"
SOURCES = sorted(PAPER.rglob("*.typ"))

COSTS = json.dumps(
    [{"stage": "planes", "jobs": 2, "seconds": 3.5, "processor_seconds": 6, "memory_mb": 700}]
)
# The experiments that each figure is drawn from.
NEEDS = {
    "fig1": {"training-plane"},
    "fig2": {"examples"},
    "fig3": {"training"},
    "fig4": {"size"},
    "figA_robustness": {"robustness"},
    "figA_bunching": {"polytopes", "polytopes-training"},
    "figA_clusters": {"clusters"},
    "figA_directions": {"directions"},
    "figA_mixing": {"mixing"},
    "figA_clusters_words": {"words"},
    "figA_gemma": {"gemma"},
    "figA_freezing": {"freezing"},
    "figA_layers": {"layers"},
    "figA_depth": {"layers", "depth"},
    "figA_losses": {"training"},
    "figA_meaning": {"meaning", "controls"},
    "figA_planes_models": {"planes"},
    "figA_planes_models_common": {"planes"},
    "figA_planes_tokens": {"planes"},
    "figA_planes_training": {"training-planes"},
    "figA_planes_training_common": {"training-planes"},
    "figA_polytopes": {"polytopes"},
    "figA_sharpness": {"sharpness"},
    "figA_words_layers": {"words-layers"},
    "figA_words_maps": {"words"},
    "figA_words_scores": {"words", "words-control"},
    "figA_words_training": {"words-training"},
}


def part(numbers: dict, experiments: set[str]) -> dict:
    """The numbers of a study that runs these experiments alone."""
    tables = {
        name: table
        for name, table in numbers["tables"].items()
        if name.partition("_")[0] in experiments
        or name == "deviations"
        or (name == "independent-check" and "sharpness" in experiments)
    }
    held = json.dumps(tables)
    used = {model["model"] for model in numbers["models"] if f'"{model["model"]}"' in held}
    kept = {name: numbers["experiments"][name] for name in sorted(experiments)}
    sets = {entry["prompts"] for entry in kept.values()}
    return numbers | {
        "tables": tables,
        "experiments": kept,
        "prompts": {name: numbers["prompts"][name] for name in sorted(sets)},
        "models": [model for model in numbers["models"] if model["model"] in used],
        "checks": [check for check in numbers["checks"] if check["model"] in used],
        "bos": sorted(used),
        "figures": [name for name in numbers["figures"] if NEEDS[name] <= experiments],
        "findings": [one for one in numbers["findings"] if one["experiment"] in experiments],
    }


@pytest.mark.parametrize("experiments", [*sorted(set().union(*NEEDS.values())), "meaning controls"])
def test_a_study_of_some_experiments_has_a_paper(
    tiny: Path, tmp_path: Path, experiments: str
) -> None:
    results = tiny / "results" / "tiny"
    numbers = json.loads((results / "numbers.json").read_text())
    assert set(numbers["figures"]) == set(NEEDS)
    expected = part(numbers, set(experiments.split()))
    (tmp_path / "numbers.json").write_text(json.dumps(expected))
    (tmp_path / "figures").mkdir()
    for name in expected["figures"]:
        shutil.copy(results / "figures" / f"{name}.pdf", tmp_path / "figures")
    pdf = typst.compile(
        PAPER / "paper.typ", root=Path("/"), sys_inputs={"results": str(tmp_path), "costs": COSTS}
    )
    assert pdf.startswith(b"%PDF")


OLMO, SMALL, LARGE = "olmo-1b-0724", ["qwen2-0.5b", "qwen2-1.5b"], ["olmo-7b-0724", "qwen2-7b"]


@pytest.mark.parametrize(
    ("what", "names", "said"),
    [
        ("models", [OLMO, *SMALL], "olmo-7b-0724 and qwen2-7b are missing"),
        ("models", [OLMO, *SMALL, *LARGE], ""),
        ("models", ["smollm2-135m", "suite-d4-w64"], ""),  # none of them: the abstract says it
        ("models", ["smollm2-135m", f"{SMALL[0]}-random"], ""),  # its twin is another model
        ("followed", [OLMO], "olmo-7b-0724 is missing"),
    ],
)
def test_the_text_says_which_of_the_papers_models_a_comparison_lacks(
    tmp_path: Path, what: str, names: list[str], said: str
) -> None:
    like = {"qwen2-0.5b-random": "qwen2-0.5b"}
    held = {"constants": constants(), "like": like, "figures": []}
    (tmp_path / "numbers.json").write_text(json.dumps(held))
    shutil.copy(PAPER / "style.typ", tmp_path)
    listed = "".join(f'"{name}", ' for name in names)
    main = tmp_path / "main.typ"
    main.write_text(
        '#import "style.typ": *\n'
        f"#metadata(repr(missing(constants.original.{what}, ({listed})))) <said>"
    )
    query = typst.query(
        main, "<said>", field="value", one=True, root=Path("/"),
        sys_inputs={"results": str(tmp_path)},
    )  # fmt: skip
    words = " ".join(re.sub(r"\W*\[|\][\W]*", " ", json.loads(query)).split())
    assert (said in words) if said else words == "none"


# What may hold digits in the text.
ALLOWED = [
    r"\b(Figure|Table) [1-4]\b",  # of the original
    r"\bGPT-2\b|\bL2\b|\b[SD][1-3]\b|\bd\(1\)|1 − cosine",  # names and formulas
    r"\b95 %",  # the level of all intervals: the default of measures.interval
    r"(line|it|cone|cone, which) has 1\b|[Aa] median max slope of 1\b|slope above 1\b",
    r"\b1 (for a straight line|means)\b|\bnear 2 by \w+, not 1\b",
    # by definition a straight line has 1; the others are no measurements either
    r"\bleaves out 0\b|\bcounted from 0\b|\b1 and 0 at the ends\b",
    r'"\(?1(\.1)?\)?"|"A\.1"|"[\d.]+(in|pt|em|fr)"',  # numbering, lengths
    r'"0"',  # a decimal that rounding left out
]
KEYWORD = re.compile(r"(let|set|show|import|include|if|for)\b")
NAME = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")
STRING = re.compile(r'"([^"\\]|\\.)*"')
SKIPPED = re.compile(r"//[^\n]*|\$[^$]*\$|`[^`]*`|@[\w-]+|<[\w-]+>|\\.")
CLOSING = {"(": ")", "{": "}", "[": "]"}
Found = tuple[str, int]  # the text set, and where reading goes on


def markup(source: str, at: int = 0, end: str = "") -> Found:
    """What Typst markup sets as text, up to a closing bracket: no code, equations or references."""
    result = ""
    while at < len(source) and source[at] != end:
        if skipped := SKIPPED.match(source, at):
            at = skipped.end()
        elif source[at] == "#":
            text, at = expression(source, at + 1)
            result += text
        elif source[at] == "[":
            text, at = group(source, at)
            result += text
        else:
            result += source[at]
            at += 1
    return result, at


def group(source: str, at: int) -> Found:
    """A bracket of any kind and what is in it."""
    end = CLOSING[source[at]]
    text, at = (markup if end == "]" else code)(source, at + 1, end)
    return text, at + 1


def code(source: str, at: int, stop: str) -> Found:
    """The strings and the markup in code, up to one of the characters of `stop`."""
    result = ""
    while at < len(source) and source[at] not in stop:
        if string := STRING.match(source, at):
            result, at = result + f" {string[0]} ", string.end()
        elif skipped := SKIPPED.match(source, at):
            at = skipped.end()
        elif source[at] in CLOSING:
            text, at = group(source, at)
            result += f" {text} "
        else:
            at += 1
    return result, at


def expression(source: str, at: int) -> Found:
    """One expression or statement of code in markup: what follows a `#`."""
    keyword = KEYWORD.match(source, at)
    if keyword and keyword[0] in ("if", "for"):
        result = ""
        while True:
            text, at = code(source, at, "[{")
            body, at = group(source, at)
            result += text + body
            if not (more := re.compile(r"\s*else\b").match(source, at)):
                return result, at
            at = more.end()
    if keyword:
        return code(source, at, "\n]")
    result = ""
    while at < len(source):
        if name := NAME.match(source, at + (source[at] == ".")):
            at = name.end()
        elif source[at] in CLOSING:
            text, at = group(source, at)
            result += text
        else:
            break
    return result, at


def typed(source: str) -> list[str]:
    """The digits in the text of Typst source that are typed by hand, with what is around them."""
    text = " ".join(markup(source)[0].split())
    for allowed in ALLOWED:
        text = re.sub(allowed, "", text)
    return [text[max(0, m.start() - 30) : m.end() + 10] for m in re.finditer(r"(?<!\w)\d+", text)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_number_is_typed_by_hand(path: Path) -> None:
    assert typed(path.read_text()) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_semicolon_is_swallowed(path: Path) -> None:
    """One after an expression ends it, and is not set; it must be escaped."""
    assert re.findall(r"(?:\)|#[\w.-]+);\s.*", path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("a median of 3.5 in all", True),
        ("#if a.len() > 1 [over 7 pairs] else [#b.c(2)]", True),
        ("#if a.len() > 1 [one] else [all 7]", True),
        ('#let main = "speed > 2"', True),
        ("#figure(caption: [mean of 20 updates])", True),
        ("#num(3, digits: 1), then 4", True),
        ("#num(row.a, digits: 1) of $x_1$ in @fig1, // 3\n<table2>", False),
        ("#for (a, b) in (1, 2) [#a.first().x]: a straight line has 1", False),
    ],
)
def test_digits_are_found_in_text_and_nowhere_else(source: str, number: bool) -> None:
    assert bool(typed(source)) == number
