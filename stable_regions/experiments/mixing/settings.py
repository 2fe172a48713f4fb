"""The settings of `mixing`: how two directions add up to a movement of the output."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stable_regions.experiments.directions.settings import AroundActivations
from stable_regions.experiments.settings import Points, Tables, Way
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.study.fields import INT32_END

TWO = ("isotropic", "principal", "contrastive")

WAY = Way("mixtures", values_per_point=1)
TABLES = Tables("mixing_tables", "Fit how directions add up in", ("", "fits", "angles"))


class Settings(AroundActivations):
    """Two directions from an activation and what lies between them: the p of their L^p norm.

    `cos t u + sin t v`, t from 0 to 90 degrees, where u and v are both isotropic, both principal
    components, or both differences between kinds of words.
    """

    verb: ClassVar[str] = "mix_directions"
    does: ClassVar[str] = "Mix directions"
    stage: ClassVar[str] = "mixtures"
    folder: ClassVar[str] = "mixing"
    ways: ClassVar[tuple[Way, ...]] = (WAY,)
    kind: Literal["mixing"]
    angles: Annotated[int, Field(ge=3, lt=INT32_END)] = 9
    """Angles from one direction to the other, both included."""

    @property
    def rows(self) -> int:
        return len(TWO) * self.angles

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        return [Points(WAY, self.bases * self.rows * (self.lengths + 1))]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        return {name: ["model", "layer", "direction", "part"]}
