"""The settings of distances between all prompts of a set, and of their clusters."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from stable_regions.base.errors import UserError
from stable_regions.base.strict import Strict
from stable_regions.experiments.settings import Measurement, Nature, Points, Way
from stable_regions.prompts.settings import Prompts, Size, WordPrompts
from stable_regions.study.fields import INT32_END, Count, Layer, TwoOrMore, Unique

SHORT = Way(
    "short", values_per_point=4
)  # paths between all prompts of a set, which share few contexts


class Clusters(Strict):
    """How prompts are clustered with HDBSCAN, and what the clusters are compared with."""

    labels: Unique[Literal["kind", "part_of_speech", "last_token", "top_token"]] = Field(
        min_length=1
    )
    """What clusters are compared with: columns of the prompt table, and the model's `top_token`."""
    min_cluster_size: TwoOrMore
    """Of HDBSCAN: the prompts in the smallest cluster."""
    min_samples: Count
    """Of HDBSCAN: the neighbours by which it takes a place to be dense."""
    other_sizes: Unique[TwoOrMore] = Field(min_length=1)
    """Other values of `min_cluster_size`, to see what depends on it."""
    draws: Count = 200
    """Resamples and shuffles of each score."""


class Settings(Measurement):
    """Distances between all prompts of a set by what a model does with them, and their clusters."""

    verb: ClassVar[str] = "compare_prompts"
    does: ClassVar[str] = "Compare all prompts"
    stage: ClassVar[str] = "distances between prompts"
    folder: ClassVar[str] = "pairwise"
    ending: ClassVar[str] = "safetensors"
    ways: ClassVar[tuple[Way, ...]] = (SHORT,)
    on_page: ClassVar[tuple[str, ...]] = ("maps",)
    natures: ClassVar[Mapping[tuple[str, ...], Nature]] = {
        (table,): "clustering"
        for table in ("scores", "comparisons", "confounded", "sensitivity", "states")
    }
    kind: Literal["pairwise"]
    steps: Annotated[int, Field(ge=3, lt=INT32_END)]
    """Points on a path, both ends included."""
    fine_pairs: Count = 200
    """Pairs, about, on which each step is cut in ten to see what depends on the number of steps."""
    geometry: Unique[Layer] = []
    """Layers whose clean activations are compared as the write layer's are."""
    blocks: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Jobs over which the rows of the distance matrix are spread."""
    clusters: Clusters
    """How the prompts are clustered."""

    def check_prompts(self, prompts: Prompts, name: str, key: str, where: str) -> None:
        if not prompts.pairs_all_prompts:
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "distances between all prompts are measured on a set of kind 'recurring' or 'words'"
            )
        has_words = isinstance(prompts, WordPrompts)
        for label in self.clusters.labels:
            if label in ("kind", "part_of_speech") and not has_words:
                raise UserError(
                    f"{where}: {key}.clusters.labels: holds {label!r}, which prompts of kind "
                    f"{prompts.kind!r} do not have; take 'last_token' or 'top_token'"
                )
            if label == "last_token" and has_words:
                raise UserError(
                    f"{where}: {key}.clusters.labels: holds 'last_token', which is another for "
                    "each word; take 'kind', 'part_of_speech' or 'top_token'"
                )

    def check_size(self, size: Size, key: str, where: str) -> None:
        contexts, count, _ = size
        for part, limits, most in [
            ("blocks", self.blocks, contexts * count),
            ("clusters.min_cluster_size", self.clusters.min_cluster_size, count),
            ("clusters.min_samples", self.clusters.min_samples + 1, count),
            ("clusters.other_sizes", max(self.clusters.other_sizes), count),
        ]:
            if limits > most:
                raise UserError(
                    f"{where}: {key}.{part}: asks for {limits} prompts; "
                    f"the prompt set {self.prompts!r} has {most}"
                )

    def clean_layers(self) -> Sequence[int]:
        return self.geometry

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        return range(self.blocks)

    def is_sharded(self, parts: Sequence[Any]) -> bool:
        return True

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        contexts, count, prefixes = size
        between = contexts * count * (count - 1) // 2 * (self.steps - 2)
        finer = self.fine_pairs * (self.steps - 1) * 10
        return [Points(SHORT, between + finer + prefixes * count)]

    def measuring(self) -> dict[str, Any]:
        return self.model_dump(exclude={"clusters"})  # those are a later stage's

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        place = ["model", "layer"]
        return {
            f"{name}_scores": [*place, "distance", "labels", "score"],
            f"{name}_comparisons": [*place, "distance", "against", "labels", "score"],
            f"{name}_confounded": [*place, "distance", "labels", "given"],
            f"{name}_sensitivity": [*place, "distance", "min_cluster_size"],
            f"{name}_states": [*place, "measure"],
            f"{name}_grids": [*place, "measure", "steps"],
        }

    def tabulating(self, size: Size, models: int) -> dict[str, int] | None:
        from stable_regions.measures.paths import DISTANCES  # numpy, which no start needs

        distances = len(DISTANCES) * len(self.layers) + len(self.geometry)
        return {
            "prompts": size.prompts,
            "matrices": size.contexts * distances * models,
            "labels": len(self.clusters.labels),
            "draws": self.clusters.draws,
            "sizes": 1 + len(self.clusters.other_sizes),
        }
