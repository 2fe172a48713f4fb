"""The types of single values in `config.yaml`, and the check of names that refer to a section."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from stable_regions.base.errors import UserError
from stable_regions.base.redact import with_tilde
from stable_regions.base.strict import did_you_mean
from stable_regions.measures.conventions import EMBEDDING


def _inside(pattern: str) -> str:
    parts = pattern.split("/")
    if "" in parts or ".." in parts:
        rule = "give a path below the top of the repository, without '..'"
        raise PydanticCustomError("outside", rule)
    return pattern


def _unique(values: list) -> list:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise PydanticCustomError(
            "twice", "duplicate {value}: remove one", {"value": repr(twice[0])}
        )
    return values


# Names become parts of file names: no slash, no space, nothing a shell would touch, and no "@",
# which separates a model from its revision.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Revision = Annotated[  # such as refs/pr/1
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]
Distribution = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(whl|tar\.gz)$")
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Repository = Annotated[
    str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*$")
]
FilePattern = Annotated[str, AfterValidator(_inside)]
# A path on this disk; with `~` for the home folder, whose name then gets into no result.
LocalPath = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$"), AfterValidator(with_tilde)]
NonEmptyStr = Annotated[str, Field(min_length=1)]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|(cpu|cuda|mps|xpu)(:[0-9]+)?)$")]
Dtype = Literal["float32", "float64", "bfloat16"]
# Numbers are bounded by what the libraries that get them can hold.
INT32_END = 2**31
Count = Annotated[int, Field(gt=0, lt=INT32_END)]
TwoOrMore = Annotated[int, Field(ge=2, lt=INT32_END)]
NotNegative = Annotated[int, Field(ge=0, lt=INT32_END)]
Layer = Annotated[
    int,
    Field(ge=EMBEDDING, lt=INT32_END),
    BeforeValidator(
        lambda value: EMBEDDING if value == "embed" else value,
        json_schema_input_type=Literal["embed"] | NotNegative,
    ),
]
T = TypeVar("T")
Unique = Annotated[list[T], AfterValidator(_unique)]
Layers = Annotated[Unique[Layer], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Threads = Annotated[int, Field(gt=0, le=1024)]


def check_known(kind: str, name: str, among: Mapping[str, Any], key: str, where: str) -> None:
    """UserError unless `name` is one of the names defined in a section."""
    if name not in among:
        hint = did_you_mean(name, among)
        raise UserError(
            f"{where}: {key}: no {kind} {name!r}; there is {', '.join(sorted(among)) or 'none'}"
            + (f" ({hint})" if hint else "")
        )
