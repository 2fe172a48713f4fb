"""The settings of `robustness`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from stable_regions.base.errors import UserError
from stable_regions.experiments.interpolation.settings import PATHS
from stable_regions.experiments.settings import OnPairs, Points, Tables, Way
from stable_regions.measures.distances import DISTANCES, DistanceName
from stable_regions.prompts.settings import Prompts, RandomPrompts, Size
from stable_regions.study.fields import Dtype, Layers, Name, Seed, TwoOrMore, Unique

# Of a point, in float64: the default, two read sites, and the other distances.
ROBUSTNESS = Way("robustness", values_per_point=2 * (3 + len(DISTANCES)), logits=True)
TABLES = Tables("robustness_table", "Summarise", ("", "steps"))


ADAPTIVE_POINTS = 41  # on a path, at most; `adaptive.py`, which needs torch


class Settings(OnPairs):
    """One choice changed at a time, on the same pairs: how much does the max slope depend on it?

    The default is what `interpolation` does: output read after the final norm, L2 distance,
    `steps` points on the straight path to the next prompt's activation, in the model's dtype. Each
    list names what takes the place of one part of it.
    """

    verb: ClassVar[str] = "vary_choices"
    does: ClassVar[str] = "Change one choice at a time"
    stage: ClassVar[str] = "robustness"
    folder: ClassVar[str] = "robustness"
    ways: ClassVar[tuple[Way, ...]] = (ROBUSTNESS,)
    kind: Literal["robustness"]
    steps: TwoOrMore = 50
    """Points on a path, both ends included, by default."""
    layers: Layers = Field(default=[0], max_length=1)
    """The write layer."""
    read_sites: Unique[Literal["pre_norm", "logits"]] = []
    """Where the output is read, instead of after the final norm."""
    distances: Unique[DistanceName] = []
    """Distances between outputs, instead of L2."""
    grids: Unique[TwoOrMore] = []
    """Points on a path, instead of `steps`."""
    adaptive: Unique[Annotated[float, Field(gt=0, lt=1)]] = []
    """Tolerances of adaptive steps, of 41 points at most."""
    paths: Unique[Literal["interpolated_norm", "slerp", "through_activations"]] = []
    """Shapes of the path, instead of a straight line: its points scaled to the norm between those
    of its ends, the spherical interpolation, or straight legs through other prompts' activations.
    """
    targets: Unique[Literal["covariance", "isotropic"]] = []
    """The end of the path, instead of the next prompt's activation: a random point with the mean
    and covariance of the activations, or one as far away in a random direction.
    """
    prompt_sets: Unique[Name] = []
    """Sets of prompts, instead of `prompts`."""
    dtypes: Unique[Dtype] = []
    """What the model is run in, instead of its own dtype."""
    seed: Seed = 0
    """Seed of the random targets."""

    def check_prompts(self, prompts: Prompts, name: str, key: str, where: str) -> None:
        if not isinstance(prompts, RandomPrompts):
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "choices are compared on a set of kind 'random'"
            )
        super().check_prompts(prompts, name, key, where)

    def other_prompts(self) -> Mapping[str, Sequence[str]]:
        return {"prompt_sets": self.prompt_sets}

    def other_dtypes(self) -> Sequence[str]:
        return self.dtypes

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        return [(0, self.count(prompts))]

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        pairs, others = self.count(prompts), self.paths + self.targets + self.prompt_sets
        of_path = sum(self.grids) + self.steps * len(others) + ADAPTIVE_POINTS * len(self.adaptive)
        return [
            Points(ROBUSTNESS, pairs * self.steps),
            Points(PATHS, pairs * of_path),
            *(Points(PATHS, pairs * self.steps, dtype) for dtype in self.dtypes),
        ]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        return {name: [], f"{name}_steps": []}
