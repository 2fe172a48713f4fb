"""The reference of the configuration and its schema say what the types do."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stable_regions.base.files import read_json
from tests.documents import blocks, read
from tests.tiny_study import CONFIG, ROOT
from tools import configuration

SCHEMA = jsonschema.Draft202012Validator(read_json(configuration.SCHEMA))


def sections() -> Iterator[tuple[str, dict[str, Any]]]:
    whole = configuration.whole()
    yield "", whole
    yield from whole["$defs"].items()


def test_every_key_has_a_description() -> None:
    lacking = [
        f"{section}.{key}"
        for section, schema in sections()
        for key, value in schema["properties"].items()
        if not value["description"]
    ]
    assert not lacking, "a text below the key in its class is its description"


def test_every_section_and_kind_is_in_the_document() -> None:
    text = configuration.document()
    assert len(list(sections())) > 20
    for name, schema in sections():
        for key in schema["properties"]:
            assert key == "kind" or f"| `{key}` |" in text, f"{name}.{key}"
    for heading in ("`compute`", "`models.NAME.source` of kind `hub`", "`prompts.NAME.pairs.NAME`"):
        assert f"# {heading}\n" in text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (configuration.DOCUMENT, configuration.document),
        (configuration.SCHEMA, configuration.schema_text),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_what_is_written_is_what_the_types_say(path: Path, text: Any) -> None:
    assert read(path) == text(), "`make schema` writes it anew"


@pytest.mark.parametrize("path", [ROOT / "config.yaml", CONFIG], ids=["shipped", "tiny"])
def test_configurations_are_as_the_schema_says(path: Path) -> None:
    text = read(path)
    SCHEMA.validate(yaml.safe_load(text))
    [named] = [line.partition("$schema=")[2] for line in text.splitlines() if "$schema=" in line]
    assert (path.parent / named).resolve() == configuration.SCHEMA


def test_an_entry_of_one_s_own_is_as_the_schema_says() -> None:
    [entry] = blocks(read(ROOT / "docs" / "models.md"), "yaml")
    SCHEMA.validate(yaml.safe_load(entry))


MISTAKES = {
    "an unknown key at the top": ("modles", {}),
    "an unknown key of a model": ("models/gpt2/dytpe", "float32"),
    "an unknown key of a source": ("models/gpt2/source/sha", "x"),
    "an unknown value": ("models/gpt2/dtype", "flot32"),
    "an unknown kind": ("models/gpt2/source/kind", "ftp"),
    "a key of another kind": ("experiments/planes/pairs", 3),
    "a number out of bounds": ("experiments/planes/resolution", 1),
    "text for a number": ("compute/threads", "two"),
    "a name that can be no file's": ("models/a b", {}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_schema_sees(mistake: str) -> None:
    raw = copy.deepcopy(yaml.safe_load(read(ROOT / "config.yaml")))
    path, value = MISTAKES[mistake]
    *parents, last = path.split("/")
    place = raw
    for key in parents:
        place = place[key]
    place[last] = value
    assert not SCHEMA.is_valid(raw)
