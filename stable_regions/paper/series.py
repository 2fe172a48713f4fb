"""The series of a study's models: sizes of a family, and checkpoints of a model.

Claims, figures, the page and the paper all read them here, so that they speak of the same models.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

RANDOM = "(random weights)"
Varied = Literal["depth", "width", "parameters"]


@dataclass(frozen=True)
class Sizes:
    """Models of one family, by size; each is larger than the one before it.

    `varies` is what differs: the `depth` at one width, the `width` at one depth (both `at` so many
    units or layers), or else the `parameters`. `alone` is a series that no other of its family
    stands beside.
    """

    family: str
    varies: Varied
    at: int | None
    alone: bool
    models: list[str]

    @property
    def title(self) -> str:
        """Its name in a figure or on the page."""
        if self.alone or self.at is None:
            return self.family
        what = f"width {self.at}" if self.varies == "depth" else f"{self.at} layers"
        return f"{self.family}, {what}"


def sizes(models: pd.DataFrame) -> tuple[list[Sizes], dict[str, str]]:
    """The series of sizes, families with the smallest models first, and the models in none.

    A family whose models differ in depth alone, or in width alone, is one series for each width
    with several depths and for each depth with several widths, if these take in all of its models.
    Any other family is one series by parameters; a family of one model is a series of one. Models
    with random weights are a family of their own. Of a model's checkpoints the last is in a series,
    and of models of one size the first of the study.

    Parameters
    ----------
    models
        The table of models, or some of its rows, in the order of the study.

    Returns
    -------
    The series, and for each model in none of them why it is left out.
    """
    left_out: dict[str, str] = {}
    models = models.assign(family=[_family(row) for row in models.to_dict("records")])
    for name, part in models.groupby("name", sort=False):
        earlier = part.sort_values("tokens", kind="stable")["model"].iloc[:-1]
        left_out |= dict.fromkeys(earlier, f"an earlier checkpoint of {name}")
    models = models[~models["model"].isin(left_out)]
    size_series = []
    order = models.groupby("family", sort=False)["parameters"].min().sort_values(kind="stable")
    for family in order.index:
        part = models[models["family"] == family]
        part = _unlike(part, ["layers", "hidden_size"], "as deep and as wide as", left_out)
        pure = _pure(part)
        if not pure or set().union(*pure.values()) != set(part["model"]):
            part = _unlike(part, ["parameters"], "as many parameters as", left_out)
            ordered = part.sort_values("parameters", kind="stable")
            pure = {("parameters", None): list(ordered["model"])}
        alone = len(pure) == 1
        size_series += [
            Sizes(family, varies, at, alone, members) for (varies, at), members in pure.items()
        ]
    return size_series, left_out


def _family(row: dict) -> str:
    name = str(row["family"])
    return f"{name} {RANDOM}" if row["source"] == "random" and RANDOM not in name else name


def _unlike(
    part: pd.DataFrame, columns: list[str], same: str, left_out: dict[str, str]
) -> pd.DataFrame:
    """The first row of those that are alike in these columns; the others are noted as left out."""
    for _, alike in part.groupby(columns, sort=False):
        first, *others = alike["model"]
        left_out |= dict.fromkeys(others, f"{same} {first}")
    return part[~part["model"].isin(left_out)]


def _pure(part: pd.DataFrame) -> dict[tuple[Varied, int | None], list[str]]:
    """Models that differ in depth alone and in width alone, smallest first."""
    members: dict[tuple[Varied, int | None], list[str]] = {}
    ways: list[tuple[Varied, str, str]] = [
        ("depth", "layers", "hidden_size"),
        ("width", "hidden_size", "layers"),
    ]
    for varies, by, fixed in ways:
        for _, some in part.groupby(fixed):
            if len(some) > 1:
                ordered = some.sort_values(by, kind="stable")
                members[varies, int(some[fixed].iloc[0])] = list(ordered["model"])
    return members


def checkpoints(models: pd.DataFrame) -> dict[str, list[str]]:
    """The checkpoints of each model of which it is known how many tokens they saw, in their order.

    Parameters
    ----------
    models
        The table of models, or some of its rows, in the order of the study.
    """
    dated = models[models["tokens"].notna() & (models["source"] != "random")]
    return {
        str(name): list(part.sort_values("tokens", kind="stable")["model"])
        for name, part in dated.groupby("name", sort=False)
    }
