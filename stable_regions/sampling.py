"""A random sample of raw outputs through the models again, and how far the two are apart.

A number may differ from the recorded one by the engine's tolerance (`engine.TOLERANCE`, by dtype)
of the largest value that the quantity has in its file: another batch or another processor gives
other last bits. A count may differ by one more; of the top tokens one in a hundred may be others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stable_regions.activations import cache
from stable_regions.choices import DEFAULT, varied_table
from stable_regions.engine import TOLERANCE
from stable_regions.files import read_parquet, read_safetensors
from stable_regions.interpolation import READ_SITES, interpolation_table
from stable_regions.model import Model
from stable_regions.pairwise import pairwise_arrays
from stable_regions.pairwise_blocks import by_context
from stable_regions.planes import plane_tensors
from stable_regions.polytopes import gate_table
from stable_regions.records import facts_of
from stable_regions.summaries import stacked

PAIRS = 20  # of each model
PROMPTS = 7  # of a pairwise experiment: they make 21 pairs
POINTS = 5  # a side, of a plane
TOP_TOKENS = 0.01  # the part of them that may be others
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """One quantity of a raw file: the largest difference, as a part of what is allowed."""

    quantity: str
    values: int
    worst: float


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


def _tolerance(model: Model) -> float:
    return TOLERANCE[model.dtype]


def _budget(facts: Facts) -> int:
    return facts["compute"]["memory_budget_mb"] * 2**20


def some_prompts(prompts: pd.DataFrame, wanted: np.ndarray) -> pd.DataFrame:
    """The prompts of these numbers, numbered anew from 0."""
    small = prompts.set_index("prompt").loc[wanted].reset_index()
    return small.assign(prompt=np.arange(len(small)))


def activations(
    model: Model, path: Path, facts: Facts, prompts: pd.DataFrame, rng: np.random.Generator
) -> Iterator[Compared]:
    """Clean runs of a few prompts."""
    stored, _ = read_safetensors(path)
    which = np.sort(rng.choice(len(prompts), min(PROMPTS, len(prompts)), replace=False))
    layers = [int(name.split(".")[1]) for name in stored if name.startswith("resid.")]
    tokens = list(prompts["tokens"].iloc[which])
    new = cache(model, tokens, layers, budget=_budget(facts))
    for name, old in stored.items():
        values = old.float().numpy()
        yield compared(
            name, values[which], new[name].float().numpy(), largest(values), _tolerance(model)
        )


def _paths(
    model: Model,
    path: Path,
    facts: Facts,
    prompts: pd.DataFrame,
    rng: np.random.Generator,
    pairs: int,
) -> Iterator[Compared]:
    """Rows of an interpolation, or of counted gates."""
    raw, _ = read_parquet(path)
    entry = facts["experiment"]
    drawn = raw.iloc[np.sort(rng.choice(len(raw), min(pairs, len(raw)), replace=False))]
    for layer, rows in drawn.groupby("layer"):
        ends = rows[["prompt_a", "prompt_b"]].to_numpy()
        used, index = np.unique(ends, return_inverse=True)
        index = index.reshape(ends.shape)
        few = some_prompts(prompts, used)
        again = pd.DataFrame(
            {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
        )
        wanted: dict[str, Any] = {
            "layers": [int(str(layer))], "steps": entry["steps"], "budget": _budget(facts),
        }  # fmt: skip
        clean = cache(model, list(few["tokens"]), wanted["layers"], budget=_budget(facts))
        if entry["kind"] == "polytopes":
            new = gate_table(model, few, again, clean, **wanted)
        else:
            new = interpolation_table(model, few, again, clean, logits=entry["logits"], **wanted)
        for name in new.columns.difference(["pair", "prompt_a", "prompt_b", "layer"]):
            if isinstance(rows[name].iloc[0], np.ndarray):
                old_values, new_values = (np.concatenate(list(part[name])) for part in (rows, new))
                scale = max(largest(values) for values in raw[name])
            else:
                old_values, new_values = rows[name].to_numpy(), new[name].to_numpy()
                scale = largest(raw[name].to_numpy())
            yield compared(name, old_values, new_values, scale, _tolerance(model))


def _plane(
    model: Model,
    path: Path,
    facts: Facts,
    prompts: pd.DataFrame,
    rng: np.random.Generator,
    pairs: int,
) -> Iterator[Compared]:
    """A few points of one plane, in all three contexts."""
    stored, _ = read_safetensors(path)
    entry = facts["experiment"]
    at = int(rng.integers(len(entry["layers"])))
    triple = int(rng.integers(entry["triples"]))
    axis = stored["axis"].numpy()
    some = np.sort(rng.choice(len(axis), min(POINTS, len(axis)), replace=False))
    few = some_prompts(prompts, np.arange(3 * triple, 3 * triple + 3))
    layers = [entry["layers"][at]]
    clean = cache(model, list(few["tokens"]), layers, budget=_budget(facts))
    new = plane_tensors(
        model, few, clean, triples=(0, 1), layers=layers, axis=axis[some], budget=_budget(facts)
    )
    for name in ("distance_post_norm", "distance_pre_norm", "top_token"):
        old = stored[name].numpy()
        part = old[at, triple][:, some][:, :, some]
        yield compared(name, part, new[name][0, 0].numpy(), largest(old), _tolerance(model))


def _pairwise(
    model: Model,
    path: Path,
    facts: Facts,
    prompts: pd.DataFrame,
    rng: np.random.Generator,
    pairs: int,
) -> Iterator[Compared]:
    """All pairs of a few prompts of one context."""
    stored, _ = read_safetensors(path, framework="numpy")
    entry = facts["experiment"]
    groups = by_context(prompts)
    context = int(rng.integers(len(groups)))
    group = groups[context]
    some = np.sort(rng.choice(len(group), min(PROMPTS, len(group)), replace=False))
    few = some_prompts(prompts, prompts["prompt"].to_numpy()[group[some]])
    clean = cache(model, list(few["tokens"]), entry["layers"], budget=_budget(facts))
    new = pairwise_arrays(
        model, few, clean, rows=(0, len(some)), layers=entry["layers"], steps=entry["steps"],
        fine_pairs=1, budget=_budget(facts),
    )  # fmt: skip
    i, j = (some[side] for side in np.triu_indices(len(some), 1))
    n = len(group)
    place = i * n - i * (i + 1) // 2 + j - i - 1  # of a pair in the upper triangle
    for site in READ_SITES:
        for name in (f"distance_{site}", f"step_{site}"):
            old = stored[name]
            yield compared(
                name, old[:, context][:, place], new[name], largest(old), _tolerance(model)
            )
    for name in ("input", *(f"directed_{site}" for site in READ_SITES)):
        old = stored[name]
        part = old[:, context][:, some][:, :, some]
        yield compared(name, part, new[name], largest(old), _tolerance(model))


def _choices(
    model: Model,
    path: Path,
    facts: Facts,
    prompts: pd.DataFrame,
    rng: np.random.Generator,
    pairs: int,
) -> Iterator[Compared]:
    """A few pairs under every choice that depends on nothing but the pair."""
    raw, _ = read_parquet(path)
    entry = facts["experiment"]
    plain = raw[(raw["choice"] == DEFAULT[0]) & (raw["value"] == DEFAULT[1])]
    rows = plain.iloc[np.sort(rng.choice(len(plain), min(PROMPTS, len(plain)), replace=False))]
    ends = rows[["prompt_a", "prompt_b"]].to_numpy()
    used, index = np.unique(ends, return_inverse=True)
    index = index.reshape(ends.shape)
    few = some_prompts(prompts, used)
    again = pd.DataFrame(
        {"pair": list(rows["pair"]), "prompt_a": index[:, 0], "prompt_b": index[:, 1]}
    )
    [layer] = entry["layers"]
    clean = cache(model, list(few["tokens"]), [layer], budget=_budget(facts))
    new = varied_table(
        model, few, again, clean[f"resid.{layer}"], layer=layer, steps=entry["steps"],
        read_sites=entry["read_sites"], distances=entry["distances"], grids=entry["grids"],
        paths=entry["paths"], targets=[], seed=entry["seed"], budget=_budget(facts),
    )  # fmt: skip
    for (choice, value), part in new.groupby(["choice", "value"], sort=False):
        whole = raw[(raw["choice"] == choice) & (raw["value"] == value)].set_index("pair")
        old = stacked(whole.loc[list(part["pair"]), "distance"])
        yield compared(
            f"distance ({choice}: {value})", old, stacked(part["distance"]),
            largest(stacked(whole["distance"])), _tolerance(model),
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
NOT_SAMPLED = {"choices": "targets, corpora and dtypes", "pairwise": "geometry and finer grids"}


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
    facts = facts_of(path)
    if "experiment" not in facts:
        return list(activations(model, path, facts, prompts, rng))
    return list(SAMPLES[facts["experiment"]["kind"]](model, path, facts, prompts, rng, pairs))
