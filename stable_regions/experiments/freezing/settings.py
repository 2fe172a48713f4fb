"""The settings of `freezing`."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from stable_regions.base.errors import UserError
from stable_regions.experiments.settings import OnPairs, Points, Tables, Way, shard_ranges
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.study.fields import Count, TwoOrMore

FREEZING = Way("freezing", values_per_point=4)
TABLES = Tables("freezing_tables", "Summarise what freezing changes in", ("", "curves"))
# What is frozen, and the read sites of it.
FROZEN = {"attention": "attn_out", "MLPs": "mlp_out"}
HELD_AT = ("start", "mean")


class Condition(NamedTuple):
    """What is frozen on a path, at what, and in which layers.

    Attributes
    ----------
    frozen
        "nothing", or one of FROZEN.
    held_at
        "start": what the modules give at A; "mean": their mean over the path with nothing frozen.
        "path" where nothing is frozen.
    window
        "all", or the number of the stretch of layers, from 1.
    first, last
        Its layers.
    """

    frozen: str
    held_at: str
    window: str
    first: int
    last: int

    @property
    def sites(self) -> list[str]:
        """The sites that are frozen."""
        layers = range(self.first, self.last + 1)
        return [f"{FROZEN[self.frozen]}.{n}" for n in layers] if self.frozen in FROZEN else []


def conditions(layer: int, layers: int, windows: int) -> list[Condition]:
    """The conditions on a path that is written after `layer` of so many; nothing frozen is first.

    Raises
    ------
    UserError
        There are fewer layers after the write layer than windows.
    """
    first, last = layer + 1, layers - 1
    later = last - layer
    if windows > later:
        raise UserError(
            f"windows: holds {windows}; of {layers} layers {later} come after the write layer "
            f"{layer}: give at most {later}"
        )
    ends = [first + n * later // windows for n in range(windows + 1)]
    stretches = [(str(n + 1), ends[n], ends[n + 1] - 1) for n in range(windows)]
    return [
        Condition("nothing", "path", "all", first, last),
        *(Condition(what, at, "all", first, last) for what in FROZEN for at in HELD_AT),
        *(
            Condition(what, "start", *stretch)
            for what in FROZEN
            for stretch in stretches
            if windows > 1
        ),
    ]


class Settings(OnPairs):
    """Paths on which what attention or MLPs give is frozen: which of them make the boundary?

    On each path what they give after the write layer is held at what they give at A, and at its
    mean over the path; and at A in windows of depth.
    """

    verb: ClassVar[str] = "freeze"
    does: ClassVar[str] = "Freeze attention and MLPs"
    stage: ClassVar[str] = "freezing"
    folder: ClassVar[str] = "freezing"
    ways: ClassVar[tuple[Way, ...]] = (FREEZING,)
    engine: ClassVar[str | None] = "auto"  # it is tried against plain passes, which need hooks
    kind: Literal["freezing"]
    steps: TwoOrMore = 50
    """Points on a path, both ends included."""
    windows: Count = 4
    """Stretches of layers after the write layer, as equal as can be, in each of which attention and
    MLPs are frozen too; 1 leaves that out.
    """

    @property
    def conditions(self) -> int:
        """How many there are at each write layer."""
        return len(conditions(0, self.windows + 1, self.windows))

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        points = self.steps * len(self.layers) * self.conditions
        return shard_ranges(self.count(prompts), points, shard_points)

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        return [Points(FREEZING, self.count(prompts) * self.steps * self.conditions)]

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        return [TABLES]

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        return {name: ["model", "layer", "read_site", "frozen", "held_at", "window"]}
