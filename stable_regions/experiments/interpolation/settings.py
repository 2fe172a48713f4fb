"""The settings of an interpolation."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from stable_regions.experiments.settings import (
    Nature,
    OnPairs,
    Points,
    Tables,
    Way,
    shard_ranges,
)
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.study.fields import TwoOrMore

PATHS = Way("paths", values_per_point=4)
PREDICTIONS = Way("predictions", values_per_point=8, logits=True)
TABLES = Tables("interpolation_tables", "Summarise", ("", "curves", "pairs"))
EACH_PATH = Tables("path_table", "Lay out each path of", ("paths",), function="lay_out", first=True)
MEANING = Tables(
    "meaning_tables",
    "Summarise what goes with sharpness in",
    ("slopes", "groups", "examples", "predictions"),
    module="predictions",
    prompts=True,
)


class Settings(OnPairs):
    """Paths between the activations of two prompts (the paper's equations 1-3)."""

    verb: ClassVar[str] = "interpolate"
    does: ClassVar[str] = "Interpolate"
    stage: ClassVar[str] = "paths"
    folder: ClassVar[str] = "interpolation"
    ways: ClassVar[tuple[Way, ...]] = (PATHS, PREDICTIONS)
    on_page: ClassVar[tuple[str, ...]] = ("paths", "series")
    natures: ClassVar[Mapping[tuple[str, ...], Nature]] = {
        ("groups", near, "max_slope"): "quotient" for near in ("low", "context")
    }
    kind: Literal["interpolation"]
    steps: TwoOrMore = 50
    """Points on a path, both ends included."""
    logits: bool = False
    """Whether the predicted tokens and the distances of next-token distributions are kept as well.
    """

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        return shard_ranges(self.count(prompts), self.steps * len(self.layers), shard_points)

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        way = PREDICTIONS if self.logits else PATHS
        return [Points(way, self.count(prompts) * self.steps)]

    def reads_tokens(self) -> bool:
        return self.logits

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        is_laid_out = self.logits and not prompts.first
        return [TABLES, EACH_PATH, MEANING] if is_laid_out else [TABLES, EACH_PATH]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        keys = ["model", "layer", "read_site"]
        tables: dict[str, list[str]] = {name: keys}
        if prompts.first:
            tables[f"{name}_pairs"] = []
        elif self.logits:
            tables[f"{name}_groups"] = ["model", "layer", "grouping", "group", "measure"]
            tables[f"{name}_predictions"] = ["model", "layer", "measure"]
            tables[f"{name}_examples"] = []
        return tables
