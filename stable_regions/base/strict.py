"""Typed sections of YAML: unknown keys are errors, and each error is one clear line."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from stable_regions.base.errors import short


class Strict(BaseModel):
    """A section: unknown keys are errors, values are not coerced, nothing changes afterwards."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, section: Any) -> Any:
        for key in section if isinstance(section, Mapping) else ():
            if key not in cls.model_fields:
                right = did_you_mean(key, cls.model_fields)
                right = right or f"the keys here are {', '.join(cls.model_fields)}"
                raise PydanticCustomError("unknown_key", "{right}", {"key": key, "right": right})
        return section


def did_you_mean(name: object, among: Iterable[str]) -> str:
    """The question "did you mean ...?" with the most similar name; empty if none is similar."""
    close = get_close_matches(str(name), list(among), 1)
    return f"did you mean {close[0]!r}?" if close else ""


def one_line(error: ValidationError, raw: Any, tag: str = "kind") -> str:
    """The first problem in the user's terms: the key, its value, and what is expected.

    Parameters
    ----------
    raw
        What was to be typed.
    tag
        The key that says which of several types an entry is: pydantic puts its value, too, into the
        place of an error.
    """
    problems = error.errors()
    first = problems[0]
    path: list[str] = []
    section: Any = raw
    parts = list(first["loc"])
    while parts:
        part = parts.pop(0)
        path.append(str(part))
        inside = part in section if isinstance(section, Mapping) else isinstance(part, int)
        section = section[part] if inside else None
        if isinstance(section, Mapping) and parts and parts[0] == section.get(tag):
            parts.pop(0)
    context, value, right = first.get("ctx", {}), first["input"], first["msg"]
    problem = "holds {value}; {right}"
    match first["type"]:
        case "missing":
            problem = "this key is missing"
        case "unknown_key":
            path.append(str(context["key"]))
            problem, value = "unknown key, holds {value}; {right}", value[context["key"]]
        case "union_tag_not_found" | "union_tag_invalid":
            path.append(tag)
            problem = "this key is missing"
            if tag in value:
                problem, value = "holds {value}; {right}", value[tag]
                right = f"one of {context['expected_tags']} is right"
        case _ if path[-1:] == ["[key]"]:
            del path[-2:]
            problem = "the name {value} is not right; {right}"
    message = problem.format(value=short(value), right=right[:1].lower() + right[1:])
    place = f"{'.'.join(path)}: " if path else ""
    return f"{place}{message}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
