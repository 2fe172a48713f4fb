"""The settings of planes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from stable_regions.base.errors import UserError
from stable_regions.experiments.settings import (
    Measurement,
    Nature,
    Points,
    Tables,
    Way,
    shard_ranges,
)
from stable_regions.prompts.settings import Prompts, RandomPrompts, Size
from stable_regions.study.fields import Count, TwoOrMore

PLANES = Way("planes", values_per_point=3, logits=True)
TABLES = Tables("plane_tables", "Tabulate the planes of", ("", "triples", "points", "tokens"))


class Settings(Measurement):
    """Planes through the activations of three prompts (the paper's Figure 1).

    Triple i has the prompts 3i, 3i + 1 and 3i + 2, so that no prompt is used twice. A resolution
    of 6m + 1 puts A and B on the grid at the extent of 0.25.
    """

    verb: ClassVar[str] = "measure_planes"
    does: ClassVar[str] = "Measure planes"
    stage: ClassVar[str] = "planes"
    folder: ClassVar[str] = "planes"
    ending: ClassVar[str] = "safetensors"
    ways: ClassVar[tuple[Way, ...]] = (PLANES,)
    on_page: ClassVar[tuple[str, ...]] = ("planes",)
    natures: ClassVar[Mapping[tuple[str, ...], Nature]] = {("top_tokens",): "count"}
    kind: Literal["plane"]
    triples: Count = 1
    """Planes, of three prompts each."""
    resolution: TwoOrMore = 61
    """Points along each side of a plane."""
    extent: Annotated[float, Field(ge=0)] = 0.25
    """How far a plane goes beyond its three prompts, as a part of their distance."""

    def check_prompts(self, prompts: Prompts, name: str, key: str, where: str) -> None:
        if not isinstance(prompts, RandomPrompts):
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "planes are drawn on a set of kind 'random'"
            )
        if 3 * self.triples > prompts.count:
            raise UserError(
                f"{where}: {key}.triples: holds {self.triples}; the prompt set "
                f"{name!r} gives at most {prompts.count // 3}"
            )

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        return shard_ranges(self.triples, 3 * self.resolution**2 * len(self.layers), shard_points)

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        return [Points(PLANES, 3 * self.triples * self.resolution**2)]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        return {name: ["model", "layer", "read_site", "measure"], f"{name}_triples": []}
