"""The kinds of experiments: each folder here is one, and needs no entry elsewhere."""

from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from stable_regions.experiments.settings import Measurement, Way


def _kinds() -> dict[str, type[Measurement]]:
    """The class `Settings` of each folder's `settings.py`, by the folder's name."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/settings.py"))
    kinds = {name: import_module(f"{__package__}.{name}.settings").Settings for name in folders}
    for name, kind in kinds.items():
        assert kind.model_fields["kind"].annotation.__args__ == (name,), f"the kind of {name}/"
    return kinds


KINDS = _kinds()
WAYS: dict[str, Way] = {way.name: way for kind in KINDS.values() for way in kind.ways}

# An entry of the section `experiments`: its `kind` selects the class.
if TYPE_CHECKING:
    Experiment = Any  # a type checker cannot know which there are
else:
    Experiment = Annotated[reduce(or_, KINDS.values()), Field(discriminator="kind")]


def module_of(kind: str, part: str) -> Any:
    """A module of a kind's folder; None if it does not exist."""
    settings = KINDS.get(kind)
    return import_module(settings.module(part)) if settings and settings.has(part) else None
