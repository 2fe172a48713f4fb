"""The settings of `depth`: paths written after some layers, and read after every later one."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from stable_regions.experiments.settings import OnPairs, Points, Tables, Way, shard_ranges
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.study.fields import TwoOrMore

READS = Way("reads", values_per_point=60)  # two numbers for each of some thirty layers
TABLES = Tables("depth_tables", "Summarise", ("", "curves", "pairs", "reads", "rates"))


class Settings(OnPairs):
    """Paths as in `interpolation`, read after every layer that comes after the written one."""

    verb: ClassVar[str] = "read_layers"
    does: ClassVar[str] = "Read after every layer along paths"
    stage: ClassVar[str] = "paths"
    folder: ClassVar[str] = "depth"
    ways: ClassVar[tuple[Way, ...]] = (READS,)
    on_page: ClassVar[tuple[str, ...]] = ("paths", "series")
    kind: Literal["depth"]
    steps: TwoOrMore = 50
    """Points on a path, both ends included."""

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        return shard_ranges(self.count(prompts), self.steps * len(self.layers), shard_points)

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        return [Points(READS, self.count(prompts) * self.steps)]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        return {
            name: ["model", "layer", "read_site"],
            f"{name}_reads": ["model", "layer", "read_layer"],
            f"{name}_rates": ["model", "layer"],
        }
