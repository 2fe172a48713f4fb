"""What every kind of experiment says of itself: `settings.py` of its folder has such a class.

Snakemake starts with these classes, so nothing here loads PyTorch, NumPy or pandas.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from stable_regions.base.errors import UserError
from stable_regions.base.strict import Strict
from stable_regions.prompts.settings import Prompts, Size
from stable_regions.study.fields import Count, Layers, Name


class Way(NamedTuple):
    """A way in which points are run on a model, for an estimate of the costs.

    Attributes
    ----------
    name
        The function that runs a few has it too, in `WAYS` of the kind's `calibrate.py`.
    kept
        Numbers that are kept of a point: distances and steps at both read sites, and what comes to
        them.
    logits
        Whether it reads them.
    """

    name: str
    values_per_point: int
    logits: bool = False


class Points(NamedTuple):
    """Points that an experiment runs on a model at each write layer, and the way of running them.

    `dtype` is given where it is not the model's own.
    """

    way: Way
    number: int
    dtype: str = ""


class Tables(NamedTuple):
    """Tables that one job makes from an experiment's raw outputs.

    Attributes
    ----------
    rule
        The name of its Snakemake rule.
    does
        The same as a message: the experiment's name follows.
    what
        The suffixes of the tables' names after the experiment's: `curves` makes
        `<experiment>_curves`, and an empty suffix `<experiment>`.
    module, function
        The module of the kind's folder and its function that makes them, from the raw outputs and
        their prompts: a dictionary of tables by suffix.
    prompts
        Whether it needs the prompts.
    first
        Whether it has the priority of the first figure.
    """

    rule: str
    does: str
    what: tuple[str, ...]
    module: str = "tables"
    function: str = "tabulate"
    prompts: bool = False
    first: bool = False

    def names(self, experiment: str) -> list[str]:
        """The tables of an experiment."""
        return [f"{experiment}_{what}" if what else experiment for what in self.what]


Nature = Literal["real", "count", "quotient", "clustering"]
"""What a number in a table is: a function of distances that moves with them, a count of things that
happen or do not (or a median or a difference of counts), a quotient by what is small (a ratio of
counts, or a slope between ends that were chosen for being near), or a score of clusters.
"""


class Measurement(Strict):
    """An experiment on models; each kind overrides in its folder what differs.

    Attributes
    ----------
    verb
        What its jobs do: the name of their rule.
    does
        The same as a message.
    stage
        The name of its jobs in the table of costs.
    folder, ending
        Of its raw outputs: tables in Parquet, or arrays in Safetensors.
    ways
        The ways of running points that its `calibrate.py` has functions for.
    engine
        The engine that its models are loaded with, in place of the one that was selected when the
        activations were cached, which has no hooks.
    on_page
        What the page to explore shows: `paths`, `series`, `planes`, `maps`.
    natures
        What the numbers of its tables are where they are not real numbers: by words that name them,
        of which the first that all apply count.
    """

    verb: ClassVar[str]
    does: ClassVar[str]
    stage: ClassVar[str]
    folder: ClassVar[str]
    ending: ClassVar[str] = "parquet"
    ways: ClassVar[tuple[Way, ...]] = ()
    engine: ClassVar[str | None] = None
    on_page: ClassVar[tuple[str, ...]] = ()
    natures: ClassVar[Mapping[tuple[str, ...], Nature]] = {}
    kind: str
    """What is measured."""
    prompts: Name
    """The prompts, one of the sets of `prompts`."""
    layers: Layers = [0]
    """Write layers: the residual stream after them is replaced, 0 being after the first block, and
    `embed` the embedding, before it.
    """

    @classmethod
    def module(cls, part: str) -> str:
        """The name of a module of the kind's folder, or of the default one above it."""
        kind = cls.__module__.rpartition(".")[0]
        return f"{kind if cls.has(part) else kind.rpartition('.')[0]}.{part}"

    @classmethod
    def nature(cls, names: Collection[str]) -> Nature:
        """What a number is, by the suffix of its table, the keys of its row and its column."""
        found = (what for words, what in cls.natures.items() if set(words) <= set(names))
        return next(found, "real")

    @classmethod
    def has(cls, part: str) -> bool:
        """Whether the kind's folder has a module."""
        kind = cls.__module__.split(".")[-2]
        return Path(__file__).with_name(kind).joinpath(f"{part}.py").exists()

    def check_prompts(self, prompts: Prompts, name: str, key: str, where: str) -> None:
        """UserError if it can't be measured on these prompts, or on this number of them."""

    def check_size(self, size: Size, key: str, where: str) -> None:
        """UserError if it asks for more prompts than there are."""

    def other_prompts(self) -> Mapping[str, Sequence[str]]:
        """Other prompt sets that it measures, by the setting that names them."""
        return {}

    def clean_layers(self) -> Sequence[int]:
        """Layers of which it needs the activations of clean runs."""
        return []

    def other_dtypes(self) -> Sequence[str]:
        """Other dtypes that it loads a model in."""
        return []

    def parts(self, prompts: Prompts, shard_points: int) -> Sequence[Any]:
        """The part that each of its jobs on one model measures."""
        raise NotImplementedError

    def is_sharded(self, parts: Sequence[Any]) -> bool:
        """Whether parts are separate files, which `gather` joins."""
        return len(parts) > 1

    def points(self, prompts: Prompts, size: Size) -> Sequence[Points]:
        """Points that are run at each write layer."""
        raise NotImplementedError

    def measuring(self) -> dict[str, Any]:
        """The settings that its raw outputs depend on."""
        return self.model_dump()

    def reads_tokens(self) -> bool:
        """Whether its raw outputs hold predicted tokens, whose texts the page to explore shows."""
        return False

    def tables(self, prompts: Prompts) -> Sequence[Tables]:
        """The tables made from its raw outputs, job by job."""
        return []

    def paper_tables(self, name: str, prompts: Prompts) -> dict[str, list[str]]:
        """The tables that the paper quotes: columns that a row is looked up by, or none."""
        return {}

    def tabulating(self, size: Size, models: int) -> dict[str, int] | None:
        """The arguments of `tabulating_seconds` in its `calibrate.py`, if its tables take long."""
        return None


class OnPairs(Measurement):
    """A measurement on the pairs of a prompt set: all, or as many as `pairs` says."""

    pairs: Count | None = None
    """Pairs, the first ones of the prompt set; all of them by default."""

    def check_prompts(self, prompts: Prompts, name: str, key: str, where: str) -> None:
        if prompts.pairs_all_prompts:
            raise UserError(
                f"{where}: {key}: the prompt set {name!r} is of kind {prompts.kind!r}, of which "
                "every two are a pair; give it to an experiment of kind 'pairwise'"
            )
        most = prompts.max_pairs
        if self.pairs is not None and self.pairs > most:
            raise UserError(
                f"{where}: {key}.pairs: holds {self.pairs}; "
                f"the prompt set {name!r} gives at most {most}"
            )

    def count(self, prompts: Prompts) -> int:
        """How many pairs it measures."""
        return self.pairs or prompts.max_pairs


def shard_ranges(count: int, points: int, shard_points: int) -> list[tuple[int, int]]:
    """The range of each shard of `count` things with `points` points each: (first, end)."""
    size = max(1, shard_points // points)
    return [(start, min(start + size, count)) for start in range(0, count, size)]
