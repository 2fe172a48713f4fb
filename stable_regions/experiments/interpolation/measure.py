"""The interpolation experiment: the model's output along paths between two prompts' activations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.progress import Progress
from stable_regions.experiments.measuring import Measuring
from stable_regions.measures.distances import jensen_shannon
from stable_regions.measures.paths import alphas
from stable_regions.models.model import Model
from stable_regions.models.sweep import sweep
from stable_regions.prompts.draw import by_length

READ_SITES = ("post_norm", "pre_norm")
# What is measured on pairs of prompts of one length: layer, tokens of the first prompts, numbers of
# the first and of the second prompts -> arrays `[pair, ...]` by name.
Measure = Callable[[int, Int[Tensor, "pair seq"], np.ndarray, np.ndarray], dict[str, np.ndarray]]


def promoted(tensor: Tensor) -> Tensor:
    """The tensor in float32 or higher precision: only the model itself computes in less."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def path_points(
    start: Float[Tensor, "pair d"], end: Float[Tensor, "pair d"], alpha: Float[Tensor, "*pair step"]
) -> Float[Tensor, "pair step d"]:
    """`X(alpha) = A + alpha (B - A)` (paper, section 3), alpha the same for all or each its own."""
    return start[:, None] + alpha[..., None] * (end - start)[:, None]


def sweep_paths(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    sites: Sequence[str],
    reduce: Callable[[slice, dict[str, Tensor]], dict[str, Tensor]],
    *,
    layer: int,
    steps: int,
    budget: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Run all points of all paths, and keep what `reduce` returns for each batch.

    Parameters
    ----------
    reduce
        Given the batch's pairs (a slice) and what the sites hold, `[pair, step, width]`, returns
        what is kept, `[pair, ...]` by name.

    Returns
    -------
    What was kept of all pairs, `[pair, ...]` by name.
    """
    start, end = promoted(start), promoted(end)
    grid = torch.as_tensor(alphas(steps), dtype=start.dtype, device=start.device)
    kept: dict[str, np.ndarray] = {}
    for rows, out in sweep(
        model,
        layer,
        tokens,
        torch.arange(len(tokens)),
        lambda rows: path_points(start[rows], end[rows], grid),
        sites,
        budget=budget,
    ):
        for name, tensor in reduce(rows, out).items():
            values = tensor.cpu().numpy()
            if name not in kept:  # what is kept batch by batch would leave holes in the memory
                kept[name] = np.empty((len(tokens), *values.shape[1:]), values.dtype)
            kept[name][rows] = values
        if progress:
            progress.advance((rows.stop - rows.start) * steps)
    return kept


def movement(
    output: Float[Tensor, "pair step d"],
) -> tuple[Float[Tensor, "pair step"], Float[Tensor, "pair step-1"]]:
    """L2 distance of the output from its start, and between successive outputs."""
    output = promoted(output)
    return (
        torch.linalg.vector_norm(output - output[:, :1], dim=-1),
        torch.linalg.vector_norm(output.diff(dim=1), dim=-1),
    )


def output_movement(out: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For both read sites `distance_<site>` and `step_<site>`: see `movement`."""
    by_site = {site: movement(out[site]) for site in READ_SITES}
    return {f"distance_{site}": distance for site, (distance, _) in by_site.items()} | {
        f"step_{site}": step for site, (_, step) in by_site.items()
    }


def interpolate(
    model: Model,
    tokens: Int[Tensor, "pair seq"],
    start: Float[Tensor, "pair d"],
    end: Float[Tensor, "pair d"],
    *,
    layer: int,
    steps: int,
    top_tokens: Int[Tensor, "pair 2"] | None,
    budget: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Outputs along paths, in the context of each pair's first prompt.

    Parameters
    ----------
    tokens
        The first prompt of each pair: the context `p_A`.
    start, end
        The residual stream after `layer` at the last position of both prompts, A and B.
    top_tokens
        The top next tokens of both prompts' clean runs; if given, logits are read too.
    budget
        Memory for one batch, in bytes.

    Returns
    -------
    Arrays `[pair, step]`: `distance_post_norm`, `distance_pre_norm` (L2, in units of the residual
    stream after and before the final norm), and `[pair, step - 1]`: `step_post_norm`,
    `step_pre_norm` (between successive outputs). With `top_tokens` also `logit_difference`
    (`logit[t_A] - logit[t_B]`), `top_token`, `jensen_shannon` (bits, from the prediction at
    alpha = 0) and `jensen_shannon_step` `[pair, step - 1]` (between successive predictions).
    """
    sites = READ_SITES if top_tokens is None else (*READ_SITES, "logits")

    def reduce(rows: slice, out: dict[str, Tensor]) -> dict[str, Tensor]:
        columns = output_movement(out)
        return (
            columns
            if top_tokens is None
            else columns | _predictions(out["logits"], top_tokens[rows])
        )

    return sweep_paths(
        model, tokens, start, end, sites, reduce,
        layer=layer, steps=steps, budget=budget, progress=progress,
    )  # fmt: skip


def _predictions(
    logits: Float[Tensor, "pair step token"], top: Int[Tensor, "pair 2"]
) -> dict[str, Tensor]:
    steps = logits.shape[1]
    chosen = promoted(logits.gather(-1, top.to(logits.device)[:, None].expand(-1, steps, -1)))
    from_start, by_step = [], []
    for row in logits:  # one path at a time: what the divergence needs stays small
        p = torch.softmax(promoted(row), dim=-1)
        from_start.append(torch.stack([jensen_shannon(point, p[0]) for point in p]))
        by_step.append(torch.stack([jensen_shannon(p[i + 1], p[i]) for i in range(steps - 1)]))
    return {
        "logit_difference": chosen[..., 0] - chosen[..., 1],
        "top_token": logits.argmax(-1),
        "jensen_shannon": torch.stack(from_start),
        "jensen_shannon_step": torch.stack(by_step),
    }


def interpolation_table(
    model: Model,
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    layers: Sequence[int],
    steps: int,
    logits: bool,
    budget: int,
) -> pd.DataFrame:
    """Interpolate between the prompts of each pair at each write layer: one row a pair and layer.

    Parameters
    ----------
    prompts, pairs
        As made by `stable_regions.prompts.draw`.
    activations
        `resid.N` `[prompt, d]` for each layer N, and `top_token` `[prompt]`.

    Returns
    -------
    The columns of `path_table`, and those of `interpolate` as lists, one value a step.
    """
    progress = Progress("interpolation", len(pairs) * steps * len(layers), "points")
    top = activations["top_token"]

    def measure(layer: int, tokens: Tensor, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        residual = activations[f"resid.{layer}"].to(model.device)
        return interpolate(
            model,
            tokens,
            residual[a],
            residual[b],
            layer=layer,
            steps=steps,
            top_tokens=torch.stack([top[a], top[b]], dim=1) if logits else None,
            budget=budget,
            progress=progress,
        )

    return path_table(prompts, pairs, activations, layers=layers, measure=measure)


def path_table(
    prompts: pd.DataFrame,
    pairs: pd.DataFrame,
    activations: Mapping[str, Tensor],
    *,
    layers: Sequence[int],
    measure: Measure,
) -> pd.DataFrame:
    """Measure every pair at each write layer, and lay the results out: one row a pair and layer.

    Returns
    -------
    Columns `pair`, `prompt_a`, `prompt_b`, `tokens_a`, `tokens_b`, `layer`, `input_distance`
    (L2 between A and B), and what `measure` gives as lists.
    """
    a, b = pairs["prompt_a"].to_numpy(copy=True), pairs["prompt_b"].to_numpy(copy=True)
    tokens = dict(zip(prompts["prompt"], prompts["tokens"], strict=True))
    tables = []
    for layer in layers:
        residual = promoted(activations[f"resid.{layer}"])
        table = pairs[["pair", "prompt_a", "prompt_b"]].copy()
        table["tokens_a"], table["tokens_b"] = [tokens[i] for i in a], [tokens[i] for i in b]
        table["layer"] = layer
        difference = residual[b] - residual[a]
        table["input_distance"] = torch.linalg.vector_norm(difference, dim=-1).numpy()
        parts = []
        for index, context in by_length([tokens[i] for i in a]):
            by_column = measure(layer, torch.from_numpy(context), a[index], b[index])
            columns = {name: list(value) for name, value in by_column.items()}
            parts.append(pd.DataFrame(columns, index=table.index[index]))
        tables.append(table.join(pd.concat(parts)))
    return pd.concat(tables, ignore_index=True)


def measure(job: Measuring) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Interpolate between the prompts of one shard of pairs: the table and its metadata."""
    table = interpolation_table(
        job.model,
        job.prompts,
        job.own_pairs,
        job.activations,
        layers=job.entry["layers"],
        steps=job.entry["steps"],
        logits=job.entry["logits"],
        budget=job.budget,
    )
    return table, {
        "alpha": alphas(job.entry["steps"]).tolist(),
        "units": "L2 distance in units of the residual stream at the read site",
    }
