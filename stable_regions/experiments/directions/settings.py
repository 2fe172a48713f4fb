"""The settings of `directions`: how far a direction leads before the output moves."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from stable_regions.base.errors import UserError
from stable_regions.experiments.settings import Measurement, Points, Tables, Way, shard_ranges
from stable_regions.prompts.settings import Prompts, RandomPrompts, Size, WordPrompts
from stable_regions.study.fields import Count, Name, Seed, TwoOrMore

BASES = ("real", "random")
DIRECTIONS = ("isotropic", "covariance", "difference", "principal", "contrastive")
# What is drawn for a base needs two other prompts.
FEWEST = 3

WAY = Way("directions", values_per_point=2, logits=True)
TABLES = Tables(
    "direction_tables", "Summarise the directions of", ("", "comparisons", "curves", "usual")
)


class AroundActivations(Measurement):
    """Measurements in directions from the activations of a set's first prompts."""

    words: Name
    """The prompts of words of known kinds, one of the sets of `prompts`: contrastive directions are
    differences of their mean activations.
    """
    bases: Count
    """Activations to start from: those of the first prompts of the set."""
    lengths: TwoOrMore = 30
    """Lengths in each direction, beside zero. They grow by one factor, and the last is `reach`."""
    shortest: Annotated[float, Field(gt=0)] = 0.05
    """The first length, in units of the median distance between two prompts' activations."""
    reach: Annotated[float, Field(gt=0)] = 2.0
    """The last length, in the same unit."""
    components: TwoOrMore = 10
    """Principal components that directions are drawn from, the first ones."""
    seed: Seed = 0
    """Seed of what is drawn at random: bases and directions."""

    def other_prompts(self) -> dict[str, list[str]]:
        return {"words": [self.words]}

    def check_prompts(self, prompts: Prompts, name: str, key: str, where: str) -> None:
        if name == self.words and not isinstance(prompts, WordPrompts):
            raise UserError(
                f"{where}: {key}.words: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "contrastive directions need a set of kind 'words'"
            )
        if name != self.prompts:
            return
        if not isinstance(prompts, RandomPrompts):
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}; "
                "directions are measured from a set of kind 'random'"
            )
        for part, asked in (("bases", self.bases), ("prompts", FEWEST)):
            if asked > prompts.count:
                raise UserError(
                    f"{where}: {key}.{part}: asks for {asked} prompts; "
                    f"the prompt set {name!r} has {prompts.count}"
                )
        if self.shortest >= self.reach:
            raise UserError(
                f"{where}: {key}.shortest: holds {self.shortest:g}; it must be less than "
                f"the reach, {self.reach:g}"
            )

    @property
    def rows(self) -> int:
        """Directions that are measured from each base."""
        raise NotImplementedError

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        each = self.rows * (self.lengths + 1) * len(self.layers)
        return shard_ranges(self.bases, each, shard_points)


class Settings(AroundActivations):
    """Directions from an activation: how far it takes until the output has moved.

    From the activations of prompts and from random ones of the same mean and covariance, in
    directions that are random, that the activations prefer, and that tell kinds of words apart.
    """

    verb: ClassVar[str] = "go_in_directions"
    does: ClassVar[str] = "Go in directions from activations"
    stage: ClassVar[str] = "directions"
    folder: ClassVar[str] = "directions"
    ways: ClassVar[tuple[Way, ...]] = (WAY,)
    kind: Literal["directions"]

    @property
    def rows(self) -> int:
        return len(BASES) * len(DIRECTIONS)

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        return [Points(WAY, self.bases * (self.rows * (self.lengths + 1) + 1))]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        place = ["model", "layer"]
        return {
            name: [*place, "base", "direction", "distance", "part"],
            f"{name}_comparisons": [*place, "distance", "part", "comparison", "among"],
            f"{name}_usual": place,
        }
