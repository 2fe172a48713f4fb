"""A random sample of raw outputs through the models again, and how far the two are apart.

A number may differ from the recorded one by the engine's tolerance (`check.TOLERANCE`, by dtype)
of the largest value that the quantity has in its file: another batch or another processor gives
other last bits. A count may differ by one more; of the top tokens one in a hundred may be others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stable_regions.audit.records import facts_of
from stable_regions.base.files import read_parquet, read_safetensors
from stable_regions.experiments.activations import cache
from stable_regions.experiments.choices.measure import DEFAULT, varied_table
from stable_regions.experiments.interpolation.measure import READ_SITES, interpolation_table
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.experiments.pairwise.blocks import by_context
from stable_regions.experiments.pairwise.measure import pairwise_arrays
from stable_regions.experiments.plane.measure import plane_tensors
from stable_regions.experiments.polytopes.measure import gate_table
from stable_regions.models.check import TOLERANCE
from stable_regions.models.model import Model

PAIRS = 20  # of each model
PROMPTS = 7  # of a pairwise experiment: they make 21 pairs
POINTS = 5  # a side, of a plane
TOP_TOKENS = 0.01  # the part of them that may be others


@dataclass(frozen=True)
class Compared:
    """One quantity of a raw file: the largest difference, as a part of what is allowed."""

    quantity: str
    values: int
    worst: float


@dataclass(frozen=True)
class Drawing:
    """What a sample is drawn from: a raw file, its model and prompts; and how many pairs of it."""

    model: Model
    path: Path
    prompts: pd.DataFrame
    rng: np.random.Generator
    pairs: int
    facts: Mapping[str, Any]

    @property
    def tolerance(self) -> float:
        """What a number may differ by, as a part of the largest."""
        return TOLERANCE[self.model.dtype]

    @property
    def budget(self) -> int:
        """Bytes for one batch, as in the job."""
        return self.facts["compute"]["memory_budget_mb"] * 2**20


def compared(
    name: str, old: np.ndarray, new: np.ndarray, scale: float, tolerance: float
) -> Compared:
    """Hold what was recorded against what came out again.

    Parameters
    ----------
    scale
        The largest value that the quantity has in the whole file.
    """
    old, new = np.asarray(old), np.asarray(new)
    if old.shape != new.shape:
        return Compared(name, old.size, np.inf)
    if name.startswith("top_token"):
        return Compared(name, old.size, float((old != new).mean()) / TOP_TOKENS)
    allowed = tolerance * scale
    if np.issubdtype(old.dtype, np.integer):
        allowed = 0.0 if name.startswith(("tokens", "pair")) else max(1.0, allowed)
    apart = np.abs(old.astype(np.float64) - new.astype(np.float64))
    worst = np.where(apart > 0, apart / allowed if allowed else np.inf, 0.0)
    worst = np.where(np.isnan(apart) & ~(np.isnan(old) & np.isnan(new)), np.inf, worst)
    return Compared(name, old.size, float(np.nanmax(worst, initial=0.0)))


def largest(values: np.ndarray) -> float:
    """The largest finite size of a quantity."""
    values = np.abs(np.asarray(values, dtype=np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def some_prompts(prompts: pd.DataFrame, wanted: np.ndarray) -> pd.DataFrame:
    """The prompts of these numbers, numbered anew from 0."""
    small = prompts.set_index("prompt").loc[wanted].reset_index()
    return small.assign(prompt=np.arange(len(small)))


def activations(given: Drawing) -> Iterator[Compared]:
    """Clean runs of a few prompts."""
    stored, _ = read_safetensors(given.path)
    which = np.sort(
        given.rng.choice(len(given.prompts), min(PROMPTS, len(given.prompts)), replace=False)
    )
    layers = [int(name.split(".")[1]) for name in stored if name.startswith("resid.")]
    tokens = list(given.prompts["tokens"].iloc[which])
    new = cache(given.model, tokens, layers, budget=given.budget)
    for name, old in stored.items():
        values = old.float().numpy()
        yield compared(
            name, values[which], new[name].float().numpy(), largest(values), given.tolerance
        )


def _paths(given: Drawing) -> Iterator[Compared]:
    """Rows of an interpolation, or of counted gates."""
    raw, _ = read_parquet(given.path)
    entry = given.facts["experiment"]
    drawn = raw.iloc[np.sort(given.rng.choice(len(raw), min(given.pairs, len(raw)), replace=False))]
    for layer, rows in drawn.groupby("layer"):
        ends = rows[["prompt_a", "prompt_b"]].to_numpy()
        used, index = np.unique(ends, return_inverse=True)
        index = index.reshape(ends.shape)
        few = some_prompts(given.prompts, used)
        again = pd.DataFrame(
            {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
        )
        wanted: dict[str, Any] = {
            "layers": [int(str(layer))], "steps": entry["steps"], "budget": given.budget,
        }  # fmt: skip
        clean = cache(given.model, list(few["tokens"]), wanted["layers"], budget=given.budget)
        if entry["kind"] == "polytopes":
            new = gate_table(given.model, few, again, clean, **wanted)
        else:
            new = interpolation_table(
                given.model, few, again, clean, logits=entry["logits"], **wanted
            )
        for name in new.columns.difference(["pair", "prompt_a", "prompt_b", "layer"]):
            if isinstance(rows[name].iloc[0], np.ndarray):
                old_values, new_values = (np.concatenate(list(part[name])) for part in (rows, new))
                scale = max(largest(values) for values in raw[name])
            else:
                old_values, new_values = rows[name].to_numpy(), new[name].to_numpy()
                scale = largest(raw[name].to_numpy())
            yield compared(name, old_values, new_values, scale, given.tolerance)


def _plane(given: Drawing) -> Iterator[Compared]:
    """A few points of one plane, in all three contexts."""
    stored, _ = read_safetensors(given.path)
    entry = given.facts["experiment"]
    at = int(given.rng.integers(len(entry["layers"])))
    triple = int(given.rng.integers(entry["triples"]))
    axis = stored["axis"].numpy()
    some = np.sort(given.rng.choice(len(axis), min(POINTS, len(axis)), replace=False))
    few = some_prompts(given.prompts, np.arange(3 * triple, 3 * triple + 3))
    layers = [entry["layers"][at]]
    clean = cache(given.model, list(few["tokens"]), layers, budget=given.budget)
    new = plane_tensors(
        given.model, few, clean, triples=(0, 1), layers=layers, axis=axis[some], budget=given.budget
    )
    for name in ("distance_post_norm", "distance_pre_norm", "top_token"):
        old = stored[name].numpy()
        part = old[at, triple][:, some][:, :, some]
        yield compared(name, part, new[name][0, 0].numpy(), largest(old), given.tolerance)


def _pairwise(given: Drawing) -> Iterator[Compared]:
    """All pairs of a few prompts of one context."""
    stored, _ = read_safetensors(given.path, framework="numpy")
    entry = given.facts["experiment"]
    groups = by_context(given.prompts)
    context = int(given.rng.integers(len(groups)))
    group = groups[context]
    some = np.sort(given.rng.choice(len(group), min(PROMPTS, len(group)), replace=False))
    few = some_prompts(given.prompts, given.prompts["prompt"].to_numpy()[group[some]])
    clean = cache(given.model, list(few["tokens"]), entry["layers"], budget=given.budget)
    new = pairwise_arrays(
        given.model, few, clean, rows=(0, len(some)), layers=entry["layers"], steps=entry["steps"],
        fine_pairs=1, budget=given.budget,
    )  # fmt: skip
    i, j = (some[side] for side in np.triu_indices(len(some), 1))
    n = len(group)
    place = i * n - i * (i + 1) // 2 + j - i - 1  # of a pair in the upper triangle
    for site in READ_SITES:
        for name in (f"distance_{site}", f"step_{site}"):
            old = stored[name]
            yield compared(
                name, old[:, context][:, place], new[name], largest(old), given.tolerance
            )
    for name in ("input", *(f"directed_{site}" for site in READ_SITES)):
        old = stored[name]
        part = old[:, context][:, some][:, :, some]
        yield compared(name, part, new[name], largest(old), given.tolerance)


def _choices(given: Drawing) -> Iterator[Compared]:
    """A few pairs under every choice that depends on nothing but the pair."""
    raw, _ = read_parquet(given.path)
    entry = given.facts["experiment"]
    plain = raw[(raw["choice"] == DEFAULT[0]) & (raw["value"] == DEFAULT[1])]
    rows = plain.iloc[
        np.sort(given.rng.choice(len(plain), min(PROMPTS, len(plain)), replace=False))
    ]
    ends = rows[["prompt_a", "prompt_b"]].to_numpy()
    used, index = np.unique(ends, return_inverse=True)
    index = index.reshape(ends.shape)
    few = some_prompts(given.prompts, used)
    again = pd.DataFrame(
        {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
    )
    [layer] = entry["layers"]
    clean = cache(given.model, list(few["tokens"]), [layer], budget=given.budget)
    new = varied_table(
        given.model, few, again, clean[f"resid.{layer}"], layer=layer, steps=entry["steps"],
        read_sites=entry["read_sites"], distances=entry["distances"], grids=entry["grids"],
        adaptive=[], paths=entry["paths"], targets=[], seed=entry["seed"], budget=given.budget,
    )  # fmt: skip
    for (choice, value), part in new.groupby(["choice", "value"], sort=False):
        whole = raw[(raw["choice"] == choice) & (raw["value"] == value)].set_index("pair")
        old = stacked(whole.loc[list(part["pair"]), "distance"])
        yield compared(
            f"distance ({choice}: {value})", old, stacked(part["distance"]),
            largest(stacked(whole["distance"])), given.tolerance,
        )  # fmt: skip


SAMPLES: Mapping[str, Callable[..., Iterator[Compared]]] = {
    "interpolation": _paths,
    "polytopes": _paths,
    "plane": _plane,
    "pairwise": _pairwise,
    "choices": _choices,
}
BY_PAIR = ("interpolation", "polytopes")
# What no sample can tell: it takes all pairs at once, other prompts, or another dtype.
NOT_SAMPLED = {
    "choices": "targets, adaptive steps, corpora and dtypes",
    "pairwise": "geometry and finer grids",
}


def sample(
    model: Model,
    path: Path,
    prompts: pd.DataFrame,
    seed: int,
    pairs: int,
) -> list[Compared]:
    """Recompute a random sample of one raw file, or of one file of activations.

    Parameters
    ----------
    model
        The model that the file is of.
    prompts
        The prompts that it was measured on, in the model's tokens.
    seed
        The sample is drawn with this and the file's name.
    pairs
        How many rows to draw where the rows are pairs.
    """
    rng = np.random.default_rng([seed, *str(path).encode()])
    given = Drawing(model, path, prompts, rng, pairs, facts_of(path))
    if "experiment" not in given.facts:
        return list(activations(given))
    return list(SAMPLES[given.facts["experiment"]["kind"]](given))
