"""The ledgers of the paper: its claims with the tests that decide them, and its deviations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator

from stable_regions.base.errors import UserError
from stable_regions.base.strict import Strict, one_line
from stable_regions.base.yaml_file import read_yaml
from stable_regions.study.fields import Layer, Name

NonEmptyStr = Annotated[str, StringConstraints(min_length=1)]
Columns = Annotated[list[NonEmptyStr], Field(min_length=1)]
Value = str | int
LawName = Literal["share of the depth", "width", "parameters", "loss"]


class Original(Strict):
    """What the paper gives for an estimate: a number, or two that it lies between.

    `read` says where it stands, and how it was read if it is not printed. `of` names the one
    estimate that it is of, where a test has several.
    """

    low: float
    high: float
    read: NonEmptyStr
    of: NonEmptyStr | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Original":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Test(Strict):
    """One comparison: an estimand, the columns it is computed from, and what it must reach.

    The threshold is a number that the whole interval must be `above`, or `below`; `reason` argues
    for it from the words of the claim or the numbers of the paper. `needs` says what is missing
    where the data hold nothing to estimate it from. `original` is what the paper gives, on its own
    models; it decides nothing.
    """

    estimand: NonEmptyStr
    columns: Columns
    above: float | None = None
    below: float | None = None
    reason: NonEmptyStr
    needs: NonEmptyStr
    original: list[Original] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_threshold(self) -> "Test":
        if (self.above is None) == (self.below is None):
            raise ValueError("one threshold is needed: above, or below")
        return self

    @property
    def experiment(self) -> str:
        """The experiment whose results it is computed from."""
        return self.source.partition("_")[0]

    @property
    def source(self) -> str:
        """The table, or the experiment of the raw outputs."""
        raise NotImplementedError

    @property
    def threshold(self) -> float:
        """The number itself."""
        return self.above if self.below is None else self.below  # type: ignore[return-value]

    def outcome(self, low: float, high: float) -> str:
        """Whether an estimate with this interval `holds`, `fails` or is `open`."""
        if self.above is not None:
            return "holds" if low > self.above else "fails" if high <= self.above else "open"
        assert self.below is not None
        return "holds" if high < self.below else "fails" if low >= self.below else "open"


class OnTable(Test):
    """A test on a table of results, `<experiment>` or `<experiment>_<what>`."""

    table: NonEmptyStr

    @property
    def source(self) -> str:
        return self.table


class OnRaw(Test):
    """A test on the raw outputs of an experiment."""

    raw: Name

    @property
    def source(self) -> str:
        return self.raw


class Cells(OnTable):
    """Estimates that a table holds: see `claims.cells`."""

    test: Literal["cells"]
    where: dict[NonEmptyStr, Value | list[Value]]
    value: NonEmptyStr
    interval: Annotated[list[NonEmptyStr], Field(min_length=2, max_length=2)] | None = None
    models: Literal["trained", "random", "untrained", "last"]
    families: Annotated[list[NonEmptyStr], Field(min_length=1)] | None = None


class Share(OnTable):
    """A share of pairs: see `claims.share`."""

    test: Literal["share"]
    where: dict[NonEmptyStr, Value | list[Value]]
    value: NonEmptyStr


class Series(OnTable):
    """Max slope, or another value of pairs, over a series.

    Checkpoints, sizes of a family, write layers, a model after its twin of random weights, or one
    with a BOS token after the same without: see `claims.series`.
    """

    series: Literal["training", "size", "write layers", "twins", "BOS token"]
    value: NonEmptyStr


class Change(Series):
    """Last over first of a series: see `claims.change`. `to` names another last write layer."""

    test: Literal["change"]
    to: Layer | None = None


class Trend(Series):
    """Rank correlation along a series: see `claims.trend`.

    `after_start` leaves out its first point.
    """

    test: Literal["trend"]
    after_start: bool = False


class Rest(OnRaw):
    """How much of a path is at rest, at one write layer: see `claims.rest`."""

    test: Literal["rest"]
    layer: Layer
    slower_than: float


class Jumps(OnRaw):
    """Whether predictions jump where the output does, at one write layer: see `claims.jumps`."""

    test: Literal["jumps"]
    layer: Layer
    of: Literal["logit_difference", "jensen_shannon_step"]


class Law(OnRaw):
    """Whether the count of layers predicts the max slope better than a rival: see `claims.law`.

    Of all write and read layers of the raw outputs of an experiment of kind `depth`, or of the
    first write and the last read layer alone.
    """

    test: Literal["law"]
    rivals: Annotated[list[LawName], Field(min_length=1)]
    read_layers: Literal["all", "last"]


AnyTest = Annotated[
    Cells | Share | Change | Trend | Rest | Jumps | Law, Field(discriminator="test")
]


class Also(Strict):
    """Where else a claim is tried: on another model, text or task than that of its verdict.

    The same rule decides it. It counts for nothing else, and is tried where the study has the data.
    """

    other: Literal["model", "text", "task"]
    what: NonEmptyStr
    test: AnyTest


class Claim(Strict):
    """A statement in our words, whose it is and where it is made, and the tests that decide it.

    `original_result` is what the paper says it found, in its terms.
    """

    id: Name
    statement: NonEmptyStr
    whose: Literal["paper", "ours"]
    place: NonEmptyStr
    original_result: NonEmptyStr | None = None
    tests: list[AnyTest] = Field(min_length=1)
    also: list[Also] = Field(default_factory=list)

    @property
    def experiments(self) -> list[str]:
        """The experiments that it is computed from."""
        return list(dict.fromkeys(test.experiment for test in self.tests))


E = TypeVar("E", bound=Strict)


def load_ledger(path: Path, entry: type[E]) -> dict[str, E]:
    """Read a ledger: a YAML list of entries, each with an `id` of its own.

    Raises
    ------
    UserError
        One line: the entry, the key, what it holds, and what would be right.
    """
    raw = read_yaml(path)
    if not isinstance(raw, list):
        raise UserError(f"{path.name}: expected a list of entries")
    ledger: dict[str, E] = {}
    for number, item in enumerate(raw, 1):
        if not isinstance(item, Mapping):
            raise UserError(f"{path.name}: entry {number}: expected a mapping, got {item!r}")
        name = item.get("id", f"entry {number}")
        try:
            ledger[name] = entry.model_validate(item)
        except ValidationError as error:
            line = one_line(error, item, "test")
            raise UserError(f"{path.name}: {name}: {line}") from None
        if len(ledger) < number:
            raise UserError(f"{path.name}: {name}: duplicate id: each entry needs its own")
    return ledger


class Cell(Strict):
    """A number in a table of results: `number` says what it is."""

    number: NonEmptyStr
    table: NonEmptyStr
    where: dict[NonEmptyStr, Value]
    value: NonEmptyStr
    interval: Annotated[list[NonEmptyStr], Field(min_length=2, max_length=2)] | None = None

    @property
    def experiment(self) -> str:
        """The experiment that the table summarises."""
        return self.table.partition("_")[0]


class Deviation(Strict):
    """What the original does, what we do, and either the effect as measured, or why it is not.

    `of` says whether we depart from the paper's text, from its authors' code, or these two from
    each other. It is a deviation of those studies that have a model, or prompts of a text, from the
    kind of source that `models_from` or `texts_from` names, if one does.
    """

    id: Name
    of: Literal["text", "code", "text and code"]
    theirs: NonEmptyStr
    ours: NonEmptyStr
    effect: Cell | None = None
    reason: NonEmptyStr | None = None
    models_from: Name | None = None
    texts_from: Name | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "Deviation":
        if (self.effect is None) == (self.reason is None):
            raise ValueError("either an effect or a reason why it is not measured is needed")
        return self
