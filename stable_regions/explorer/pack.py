"""The page to explore a study: raw outputs and tables, packed into one self-contained file.

Everything is read after the final norm, as the paper's figures are. Distances of a path or a plane
are rounded to 1/65535 of its largest: far below what a screen shows, and half the size. What does
not fit into `LIMIT` is left out evenly, and the page says how much that is.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from stable_regions.base.errors import UserError
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.figures import style
from stable_regions.measures.boundaries import SPEED, in_boundary
from stable_regions.measures.paths import max_slope
from stable_regions.paper.series import sizes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LIMIT = 14_500_000  # bytes of the whole page: it must open in a moment, and go by mail
PLANES = 0.45  # of what is left for raw outputs: the most that planes may take
SITE = "post_norm"
NEIGHBOURS = 5
LEVELS = 65_535
MODEL_FACTS = [
    "model", "name", "family", "parameters", "layers", "hidden_size", "tokens", "source",
]  # fmt: skip
Json = dict[str, Any]
TokenText = Callable[[int], str]


# Numbers


def packed(values: Any, bits: int | None = None) -> Json:
    """An array as base64 of its bytes, with the name that JavaScript has for its type.

    Integers must not be negative, and are unsigned of `bits` bits, or as few as hold them; all
    else is float32. The order is C's, little-endian.
    """
    array = np.asarray(values)
    if array.dtype.kind in "biu":
        if array.size and array.min() < 0:
            raise ValueError("only integers that are not negative can be packed")
        largest = int(array.max()) if array.size else 0
        bits = bits or next(bits for bits in (8, 16, 32) if largest < 2**bits)
        name, kind = f"Uint{bits}Array", f"<u{bits // 8}"
    else:
        name, kind = "Float32Array", "<f4"
    data = base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()
    return {"type": name, "shape": list(array.shape), "data": data}


def levels(distance: np.ndarray, axes: int | tuple[int, ...] = -1) -> tuple[np.ndarray, np.ndarray]:
    """Distances quantised to 0..65535, and the largest of each row, which is 65535."""
    distance = np.asarray(distance, dtype=np.float64)
    largest = distance.max(axis=axes, keepdims=True)
    share = np.divide(distance, largest, out=np.zeros_like(distance), where=largest > 0)
    return np.rint(share * LEVELS).astype(np.uint16), largest.squeeze(axes)


def rounded(values: Any, digits: int = 5) -> list[float | None]:
    """Numbers for JSON with so many significant digits; None where there is none."""
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in numbers]


def first_that_fit(costs: Sequence[np.ndarray], room: float) -> int:
    """How many entries each group may keep at most, so that together they cost no more than `room`.

    Groups keep their first ones; a group that has fewer keeps all. At least one each.
    """
    most = max((len(cost) for cost in costs), default=0)
    total = np.zeros(most)
    for cost in costs:
        total[: len(cost)] += cost
    return max(1, int(np.searchsorted(np.cumsum(total), room, side="right")))


def encode(value: Any) -> str:
    """JSON in few bytes and always the same, safe inside of a script element."""
    text = json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    return text.replace("<", "\\u003c")


def allowed(scripts: Iterable[str]) -> str:
    """What a content-security policy calls these scripts of a page: by their hashes."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def shades() -> list[str]:
    """The colour scale of an ordered series or a distance, in steps too fine to see."""
    return [to_hex(colour) for colour in style.shades(16)]


def token_text(tokenizer: "Tokenizer", token: int) -> str:
    """A token's text inside a longer text."""
    from stable_regions.prompts import draw

    return draw.token_text(tokenizer, token)


def base64_size(count: Any) -> Any:
    """Bytes that a number of bytes takes in base64."""
    return count * 4 / 3


# Paths


@dataclass
class Prompts:
    """All prompts of a page, each once; prompts are equal if text and tokens are."""

    index: dict[tuple, int] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)

    def add(self, table: pd.DataFrame) -> dict[int, int]:
        """Add a table of prompts; return the index here of each prompt there."""
        places = {}
        columns = (table[name] for name in ("prompt", "text", "last_token", "tokens"))
        for number, text, last, tokens in zip(*columns, strict=True):
            key = (text, *map(int, tokens))
            if key not in self.index:
                self.index[key] = len(self.rows)
                self.rows.append([text, last])
            places[int(number)] = self.index[key]
        return places


@dataclass(frozen=True)
class PathData:
    """One raw output of paths (an interpolation, or gates), with the prompts it was made on."""

    experiment: str
    table: pd.DataFrame
    facts: Mapping[str, Any]
    prompts: pd.DataFrame

    @property
    def steps(self) -> int:
        """Points on a path."""
        return len(self.facts["alpha"])


class Group:
    """All pairs measured on one model at one write layer, by any experiment.

    A pair is known by its two prompts. Of a pair that several experiments measured, the curve on
    the finest grid is kept, and the predicted tokens and sign changes of those that have them.

    Pairs are in order of their rank in the experiment that they are kept from, so that the first n
    of a group are as many of each experiment.
    """

    def __init__(
        self, model: str, layer: int, parts: Sequence[tuple[PathData, np.ndarray, np.ndarray]]
    ) -> None:
        """`parts`: raw outputs of one layer, with the places of the prompts A and B of each row."""
        self.model, self.layer = model, layer
        self.parts = sorted(parts, key=lambda part: -part[0].steps)
        sources: dict[tuple[int, int], list[int]] = {}
        for source, (_, first, second) in enumerate(self.parts):
            for rank, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
                place = sources.setdefault(pair, [rank, source, 0])
                place[2] |= 1 << source
        order = sorted(sources.items(), key=lambda item: item[1][:2])
        self.pairs = np.array([pair for pair, _ in order])
        self.rank, self.source, self.member = np.array([place for _, place in order]).T

    def costs(self) -> np.ndarray:
        """Bytes that each pair takes in the page."""
        steps = np.array([part.steps for part, _, _ in self.parts])
        cost = 2 * steps + np.ceil((steps - 1) / 8) + 24
        total = cost[self.source]
        for index, (part, _, _) in enumerate(self.parts):
            extra = 2 * part.steps if "top_token" in part.table else 0
            extra += 4 * part.steps if "passed_by_step" in part.table else 0
            total = total + extra * (self.member >> index & 1)
        return base64_size(total)

    def json(self, most: int, text: TokenText | None) -> Json:
        """The first pairs of the group, packed. `text` gives a token's text, where tokens are."""
        pairs, rank = self.pairs[:most], self.rank[:most]
        source, member = self.source[:most], self.member[:most]
        place = {pair: row for row, pair in enumerate(map(tuple, pairs.tolist()))}
        curves, masks, names = [b""] * len(pairs), [b""] * len(pairs), [""] * len(pairs)
        numbers = np.full((4, len(pairs)), np.nan)  # largest distance, d(1), d(A, B), max slope
        for index, (part, _, _) in enumerate(self.parts):
            of = np.flatnonzero(source == index)
            rows = part.table.iloc[rank[of]]
            if rows.empty:
                continue
            distance = stacked(rows[f"distance_{SITE}"])
            level, largest = levels(distance)
            mask = np.packbits(in_boundary(stacked(rows[f"step_{SITE}"])), axis=-1)
            for at, curve, bits, name in zip(of, level, mask, rows["pair"], strict=True):
                curves[at] = curve.astype("<u2").tobytes()
                masks[at], names[at] = bits.tobytes(), str(name)
            numbers[:, of] = largest, distance[:, -1], rows["input_distance"], max_slope(distance)
        content: Json = {
            "model": self.model,
            "layer": self.layer,
            "experiments": [
                {"name": part.experiment, "steps": part.steps} for part, _, _ in self.parts
            ],
            "available": len(self.pairs),
            "names": names,
            "a": packed(pairs[:, 0]),
            "b": packed(pairs[:, 1]),
            "source": packed(source),
            "member": packed(member),
            "distance": packed(np.frombuffer(b"".join(curves), dtype="<u2"), 16),
            "boundary": packed(np.frombuffer(b"".join(masks), dtype=np.uint8)),
            "largest": packed(numbers[0]),
            "end": packed(numbers[1]),
            "input": packed(numbers[2]),
            "slope": packed(numbers[3]),
            "tokens": [],
            "gates": [],
        }  # fmt: skip
        for index, (part, first, second) in enumerate(self.parts):
            indices = [
                place.get(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)
            ]
            used = [(row, at) for row, at in enumerate(indices) if at is not None]
            if not used:
                continue
            rows = part.table.iloc[[row for row, _ in used]]
            own = {"experiment": index, "rows": packed([at for _, at in used])}
            if "top_token" in rows:
                assert text is not None
                ids, which = np.unique(stacked(rows["top_token"]).astype(int), return_inverse=True)
                content["tokens"].append(
                    own
                    | {
                        "texts": [text(int(token)) for token in ids],
                        "top": packed(which.reshape(len(rows), -1)),
                    }
                )
            if "passed_by_step" in rows:
                by_step = (rows["passed_by_step"], rows["passed_by_step_last"])
                content["gates"].append(
                    own
                    | {
                        name: packed(stacked(values).astype(int))
                        for name, values in zip(("all", "last"), by_step, strict=True)
                    }
                    | {
                        name: packed(ends.astype(int))
                        for name, ends in (
                            ("ends", stacked(rows["mismatch"]).sum(axis=1)),
                            ("ends_last", stacked(rows["mismatch"])[:, -1]),
                        )
                    }
                )
        return content


def path_groups(measured: Sequence[PathData], prompts: Prompts) -> list[Group]:
    """The pairs of each model and write layer, models and experiments in the order given."""
    parts: dict[tuple[str, int], list] = {}
    for one in measured:
        places = prompts.add(one.prompts)
        for layer in one.table["layer"].unique().tolist():
            table = one.table[one.table["layer"] == layer]
            first, second = (
                np.array([places[int(number)] for number in table[f"prompt_{side}"]])
                for side in "ab"
            )
            part = PathData(one.experiment, table, one.facts, one.prompts)
            key = (one.facts["model"], layer)
            parts.setdefault(key, []).append((part, first, second))
    return [Group(model, layer, some) for (model, layer), some in parts.items()]


# Planes


@dataclass(frozen=True)
class Plane:
    """One raw output of planes: a model's, all triples and write layers."""

    experiment: str
    tensors: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]

    @property
    def triples(self) -> int:
        """How many planes were measured."""
        return len(self.facts["texts"])

    def costs(self) -> np.ndarray:
        """Bytes that each triple takes in the page."""
        layers, *_, size, _ = self.tensors["top_token"].shape
        token = 1 if len(self.facts["token_texts"]) <= 256 else 2
        return base64_size(np.full(self.triples, layers * 3 * size * size * (2 + token)))

    def json(self, most: int) -> Json:
        """The first triples, packed: `[layer, triple, context, b, a]`."""
        level, largest = levels(self.tensors[f"distance_{SITE}"][:, :most], (-2, -1))
        ids, which = np.unique(self.tensors["top_token"][:, :most], return_inverse=True)
        axis = self.tensors["axis"]
        texts = self.facts["token_texts"]
        return {
            "model": self.facts["model"],
            "layers": list(self.facts["experiment"]["layers"]),
            "axis": rounded([axis[0], axis[-1]]),
            "available": self.triples,
            "texts": self.facts["texts"][:most],
            "tokens": [texts[str(token)] for token in ids],
            "distance": packed(level, 16),
            "largest": packed(largest),
            "top": packed(which.reshape(level.shape)),
            "place": packed(self.tensors["place_c"][:, :most]),
        }


def planes_json(planes: Sequence[Plane], most: int) -> list[Json]:
    """Planes by experiment: the models that one triple can be compared over."""
    groups: dict[str, list[Json]] = {}
    for plane in planes:
        groups.setdefault(plane.experiment, []).append(plane.json(most))
    return [{"experiment": name, "models": models} for name, models in groups.items()]


# Series


def series(
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], models: pd.DataFrame
) -> list[Json]:
    """Series of medians over pairs: through training, over sizes, over write layers.

    Parameters
    ----------
    tables
        The tables `<experiment>` and `<experiment>_curves` of each interpolation.
    models
        The table of models.

    Returns
    -------
    One entry a series, with the members in their order: max slopes and curves.
    """
    facts = models.set_index("model")
    along = {"training": facts["tokens"], "size": facts["parameters"]}
    rows = []
    for name, (slopes, curves) in tables.items():
        slopes, curves = (some[some["read_site"] == SITE] for some in (slopes, curves))
        first = slopes["layer"].min()
        of_first = slopes[slopes["layer"] == first].join(
            facts[["name", "family", "source", "layers", "hidden_size", "tokens"]], on="model"
        )
        for title, kind, members in _orders(slopes, of_first):
            rows.append(
                {
                    "experiment": name,
                    "kind": kind,
                    "title": title,
                    "members": [
                        _member(model, layer, slopes, curves)
                        | {"along": _whole(along[kind][model]) if kind in along else layer}
                        for model, layer in members
                    ],
                }
            )
    return rows


def _orders(
    slopes: pd.DataFrame, of_first: pd.DataFrame
) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """Title, kind and members (model, layer) of each series that a table of max slopes holds."""
    orders = []
    place = lambda rows: list(zip(rows["model"], map(int, rows["layer"]), strict=True))  # noqa: E731
    for name, rows in of_first.groupby("name", sort=False):
        if len(rows) > 1:
            rows = rows.sort_values("tokens", kind="stable")
            orders.append((str(name), "training", place(rows)))
    if of_first["name"].is_unique and len(of_first) > 1:
        rows = of_first.set_index("model", drop=False)
        series = {one.title: rows.loc[one.models] for one in sizes(of_first)[0]}
        longest = sorted(series, key=lambda title: -len(series[title]))
        series = {title: series[title] for title in longest if len(series[title]) > 1}
        if len(series) != 1 or len(next(iter(series.values()))) < len(of_first):
            series["all models"] = of_first.sort_values("parameters", kind="stable")
        orders += [(title, "size", place(members)) for title, members in series.items()]
    for model, rows in slopes.groupby("model", sort=False):
        if rows["layer"].nunique() > 1:
            orders.append((str(model), "write layer", place(rows.sort_values("layer"))))
    return orders


def _member(model: str, layer: int, slopes: pd.DataFrame, curves: pd.DataFrame) -> Json:
    [row] = slopes[(slopes["model"] == model) & (slopes["layer"] == layer)].to_dict("records")
    curve = curves[(curves["model"] == model) & (curves["layer"] == layer)]
    return {
        "model": model,
        "layer": layer,
        "pairs": int(row["pairs"]),
        "slope": rounded([row[c] for c in ("median", "q25", "q75", "ci_low", "ci_high")]),
        "curve": [rounded(curve[c], 4) for c in ("alpha", "median", "q25", "q75")],
    }


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


# Clusters


def cluster_map(
    experiment: str, places: pd.DataFrame, entries: pd.DataFrame, prompts: pd.DataFrame
) -> Json:
    """The map of a pairwise experiment's first context, and each prompt's nearest.

    Parameters
    ----------
    places, entries
        The tables `<experiment>_map` and `<experiment>_entries`.
    prompts
        The prompts of the model that they are of.
    """
    first = places[places["distance"] == places["distance"].iloc[0]]
    count = len(first)
    maps = []
    for distance, rows in places.groupby("distance", sort=False):
        matrix = np.zeros((count, count))
        of = entries[entries["distance"] == distance]
        matrix[of["i"], of["j"]] = matrix[of["j"], of["i"]] = of["value"]
        np.fill_diagonal(matrix, np.inf)
        nearest = matrix.argsort(axis=1, kind="stable")[:, : min(NEIGHBOURS, count - 1)]
        maps.append(
            {
                "distance": distance,
                "x": rounded(rows["x"], 4),
                "y": rounded(rows["y"], 4),
                "label": [int(label) for label in rows["label"]],
                "shown": rounded(rows["shown"].iloc[:1], 3)[0],
                "nearest": nearest.tolist(),
                "away": [
                    rounded(line[some], 4) for line, some in zip(matrix, nearest, strict=True)
                ],
            }
        )
    return {
        "experiment": experiment,
        "model": first["model"].iloc[0],
        "layer": int(first["layer"].iloc[0]),
        "names": [json.loads(name) for name in first["name"]],
        "kinds": [json.loads(kind) for kind in first["kind"]],
        "texts": list(prompts["text"][:count]),
        "maps": maps,
    }


# The page


def fit_to_size(
    data: Json,
    groups: Sequence[Group],
    planes: Sequence[Plane],
    token_text: Mapping[str, TokenText],
    room: float,
) -> Json:
    """The page's data with as many paths and planes as fit into its size.

    Parameters
    ----------
    token_text
        For each model that predictions were read of, what a token says.
    room
        Bytes that all data may take.
    """
    room -= len(encode(data).encode())
    costs = [plane.costs() for plane in planes]
    triples = first_that_fit(costs, PLANES * room)
    data["planes"] = planes_json(planes, triples)
    pairs = first_that_fit(
        [group.costs() for group in groups], room - len(encode(data["planes"]).encode())
    )
    data["paths"] = [group.json(pairs, token_text.get(group.model)) for group in groups]
    data["speed"] = SPEED
    return data


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Fill a template: each part replaces its `{{name}}`, verbatim.

    Raises
    ------
    UserError
        The template names other parts than those given, or one of them twice.
    """
    mark = re.compile(r"\{\{(\w+)\}\}")
    if (names := sorted(mark.findall(template))) != sorted(parts):
        raise UserError(
            f"the page's template names the parts {', '.join(names)}: "
            f"name each of {', '.join(sorted(parts))} once"
        )
    return mark.sub(lambda found: parts[found[1]], template)
