"""The kinds of sources of models. The modules in `models/` are the list: there is no other."""

from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from stable_regions.sources.origin import ModelSource


def _kinds() -> dict[str, type[ModelSource]]:
    """The class `Source` of each module, by the module's name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("models/[!_]*.py"))
    kinds = {name: import_module(f"{__package__}.models.{name}").Source for name in names}
    for name, kind in kinds.items():
        assert kind.model_fields["kind"].annotation.__args__ == (name,), f"the kind of {name}.py"
    return kinds


KINDS = _kinds()

# A model's `source`: its `kind` tells which of the classes it is of.
if TYPE_CHECKING:
    Source = ModelSource  # a type checker cannot know which there are
else:
    Source = Annotated[reduce(or_, KINDS.values()), Field(discriminator="kind")]
