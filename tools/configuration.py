"""Write docs/configuration.md and config/schema.json from the types of the configuration.

    python tools/configuration.py

A key is described by the text below it in its class, or in the nearest class above that has one.
A test fails where one of the two files is not what this writes, or where a key has no description.

The schema requires no key, since a file that is read on top of `config.yaml` repeats none of it.
Which keys are required is in the document, and checked when a study starts.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from stable_regions.study.config import Config  # noqa: E402

DOCUMENT = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "config" / "schema.json"
HEAD = """\
# Configuration

<!-- Made by `make schema` from the types: change those, not this. -->

`config.yaml` says what there is, and which studies choose among it. Files that are given with
`--configfile` are read on top of it, key by key, and `--config KEY=VALUE` on top of these. An
unknown key, a wrong value or a name that is not defined is an error, in one line, before any work
starts.

Editors that know JSON schemas complete and check the keys by `config/schema.json`. In Visual Studio
Code with the YAML extension, begin a file with
`# yaml-language-server: $schema=config/schema.json`.

A key without a default is required.
"""
NAME = "NAME"
LARGE = 2**31  # a bound from here on only says what the libraries can hold
WHOLE = ("required", "discriminator")
Schema = dict[str, Any]


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def descriptions(section: type) -> dict[str, str]:
    """What the source says below each key of a section that has such a text."""
    texts: dict[str, str] = {}
    for base in reversed(section.__mro__[: section.__mro__.index(BaseModel)]):
        for node in _tree(base.__module__).body:
            if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                for key, below in zip(node.body, node.body[1:], strict=False):
                    match key, below:
                        case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(text)):
                            texts[name] = " ".join(str(text).split())
    return texts


class _Described(GenerateJsonSchema):
    """Pydantic's generator, which knows our descriptions, and that other keys are errors."""

    def model_schema(self, schema: Any) -> Schema:
        made = super().model_schema(schema)
        texts = descriptions(schema["cls"])
        for key, value in made["properties"].items():
            value["description"] = texts.get(key, "")
            value.pop("title", None)  # the key once more
        return made | {"additionalProperties": False}

    def dict_schema(self, schema: Any) -> Schema:
        made = super().dict_schema(schema)
        return made | ({"additionalProperties": False} if "patternProperties" in made else {})


def whole() -> Schema:
    """The schema of `config.yaml`, with the keys that are required."""
    text = json.dumps(Config.model_json_schema(schema_generator=_Described))
    by_kind = re.sub(r"stable_regions__experiments__(\w+?)__settings__Settings", r"\1", text)
    return json.loads(by_kind)


def lenient(node: Any) -> Any:
    """A schema without what only a whole configuration must fulfil."""
    if isinstance(node, list):
        return [lenient(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    kept = {key: lenient(value) for key, value in node.items() if key not in WHOLE}
    if "oneOf" in kept:  # an entry without its `kind` may be of several
        kept["anyOf"] = kept.pop("oneOf")
    return kept


def schema_text() -> str:
    """The text of config/schema.json."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | lenient(whole()), indent=1, ensure_ascii=False) + "\n"


def document() -> str:
    """The text of docs/configuration.md."""
    schema = whole()
    defined = schema.pop("$defs")
    return "\n".join([HEAD, *_table(schema), *_sections(schema, defined, [])]) + "\n"


def _table(section: Schema) -> Iterator[str]:
    """The keys of a section, one a row."""
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    required = section.get("required", [])
    for key, value in section["properties"].items():
        if "const" not in value:  # a kind, which the heading has
            default = "" if key in required else _default(value.get("default"))
            yield f"| `{key}` | {_values(value)} | {default} | {value['description']} |"


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "as below"
    return f"`{json.dumps(value)}`".replace('"', "") if value or value in (0, False) else "none"


def _sections(section: Schema, defined: Schema, place: list[str]) -> Iterator[str]:
    """The sections that the keys of one hold: a heading, what each is for, and its keys."""
    for key, value in section["properties"].items():
        path = [*place, key]
        while inner := value.get("patternProperties"):
            [value] = inner.values()
            path.append(NAME)
        for each in (value, *value.get("oneOf", ()), *value.get("anyOf", ())):
            if "$ref" in each:
                found = defined[each["$ref"].rpartition("/")[2]]
                kind = found["properties"].get("kind", {}).get("const")
                level = min(3, 1 + sum(part != NAME for part in path))
                yield f"\n{'#' * level} `{'.'.join(path)}`" + (f" of kind `{kind}`" if kind else "")
                yield f"\n{inspect.cleandoc(found['description'])}\n"
                yield from _table(found)
                yield from _sections(found, defined, path)


def _values(schema: Schema) -> str:
    """The values that a key may have, in words."""
    if choices := [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]:
        return " or ".join(map(_values, choices))
    if fixed := schema.get("enum") or [schema[key] for key in ("const",) if key in schema]:
        return ", ".join(f"`{each}`" for each in fixed)
    match schema:
        case {"type": "array", "items": items}:
            return f"list of: {_values(items)}"
        case {"patternProperties": named}:
            return f"by name: {_values(*named.values())}"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "string"}:
            return "text"
        case {"type": "integer" | "number" as numbers}:
            return ", ".join(_bounds(schema, whole=numbers == "integer")) or numbers
    return "keys"


def _bounds(schema: Schema, *, whole: bool) -> Iterator[str]:
    name = "integer" if whole else "number"
    if "minimum" in schema:
        yield f"{name} from {schema['minimum']}"
    if "exclusiveMinimum" in schema:
        above = schema["exclusiveMinimum"]
        yield f"{name} from {above + 1}" if whole else f"{name} above {above}"
    if schema.get("maximum", LARGE) < LARGE:
        yield f"at most {schema['maximum']}"
    if schema.get("exclusiveMaximum", LARGE) < LARGE:
        yield f"below {schema['exclusiveMaximum']}"


def main() -> None:
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    DOCUMENT.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
