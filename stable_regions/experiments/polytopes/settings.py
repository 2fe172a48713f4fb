"""The settings of a count of gates."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from stable_regions.experiments.settings import Nature, OnPairs, Points, Tables, Way, shard_ranges
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.study.fields import TwoOrMore

GATES = Way("gates", values_per_point=6)
TABLES = Tables(
    "polytope_tables",
    "Summarise the gates of",
    ("gates", "boundaries", "comparison", "bunching", "profile", "pairs"),
)


class Settings(OnPairs):
    """Gates that change sign on paths between two activations (the paper's appendix F)."""

    verb: ClassVar[str] = "count_gates"
    does: ClassVar[str] = "Count gates"
    stage: ClassVar[str] = "gates"
    folder: ClassVar[str] = "polytopes"
    ways: ClassVar[tuple[Way, ...]] = (GATES,)
    on_page: ClassVar[tuple[str, ...]] = ("paths",)
    natures: ClassVar[Mapping[tuple[str, ...], Nature]] = {
        ("bunching", "output"): "real",
        ("bunching",): "quotient",
        ("comparison", "density"): "quotient",
        ("comparison", "movement"): "real",
        ("comparison",): "count",
        ("gates",): "count",
    }
    kind: Literal["polytopes"]
    steps: TwoOrMore = 50
    """Points on a path, both ends included."""

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        return shard_ranges(self.count(prompts), self.steps * len(self.layers), shard_points)

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        return [Points(GATES, self.count(prompts) * self.steps)]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        boundary = ["model", "layer", "read_site", "definition"]
        return {
            f"{name}_gates": ["model", "layer", "measure", "read_layer"],
            f"{name}_boundaries": boundary,
            f"{name}_comparison": [*boundary, "measure"],
            f"{name}_bunching": ["model", "layer", "read_site", "measure"],
        }
