"""The interpolation experiment: the model's output along paths between two prompts' activations."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.engine import sweep
from stable_regions.measures import alphas
from stable_regions.model import Model
from stable_regions.progress import Progress
from stable_regions.prompts import by_length


def path_points(
    start: Float[Tensor, "pair d"], end: Float[Tensor, "pair d"], alpha: Float[Tensor, " step"]
) -> Float[Tensor, "pair step d"]:
    """`X(alpha) = A + alpha (B - A)` (paper, section 3)."""
    return start[:, None] + alpha[None, :, None] * (end - start)[:, None]


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
    """Output distances along paths, in the context of each pair's first prompt.

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
    stream after and before the final norm); with `top_tokens` also `logit_difference`
    (`logit[t_A] - logit[t_B]`), `top_token`, and `jensen_shannon` (bits, from the prediction at
    alpha = 0).
    """
    grid = torch.as_tensor(alphas(steps), dtype=start.dtype, device=start.device)
    sites = ["post_norm", "pre_norm"] + (["logits"] if top_tokens is not None else [])
    parts: dict[str, list[np.ndarray]] = {}
    for rows, out in sweep(
        model,
        layer,
        tokens,
        torch.arange(len(tokens)),
        lambda rows: path_points(start[rows], end[rows], grid),
        sites,
        budget=budget,
    ):
        found = {
            f"distance_{site}": torch.linalg.vector_norm(out[site] - out[site][:, :1], dim=-1)
            for site in ("post_norm", "pre_norm")
        }
        if top_tokens is not None:
            found |= _predictions(out["logits"], top_tokens[rows])
        for name, value in found.items():
            parts.setdefault(name, []).append(value.cpu().numpy())
        if progress:
            progress.advance(next(iter(out.values())).shape[0] * steps)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _predictions(
    logits: Float[Tensor, "pair step token"], top: Int[Tensor, "pair 2"]
) -> dict[str, Tensor]:
    steps = logits.shape[1]
    chosen = logits.gather(-1, top.to(logits.device)[:, None].expand(-1, steps, -1))
    log_p = torch.log_softmax(logits.double(), dim=-1)
    log_q = log_p[:, :1]
    log_m = torch.logaddexp(log_p, log_q) - np.log(2)
    divergence = ((log_p.exp() * (log_p - log_m)) + (log_q.exp() * (log_q - log_m))).sum(-1)
    return {
        "logit_difference": chosen[..., 0] - chosen[..., 1],
        "top_token": logits.argmax(-1),
        "jensen_shannon": divergence / (2 * np.log(2)),
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
        As made by `stable_regions.prompts`.
    activations
        `resid.N` `[prompt, d]` for each layer N, and `top_token` `[prompt]`.

    Returns
    -------
    Columns `pair`, `prompt_a`, `prompt_b`, `tokens_a`, `tokens_b`, `layer`, `input_distance`
    (L2 between A and B), and those of `interpolate` as lists, one value a step.
    """
    a, b = pairs["prompt_a"].to_numpy(copy=True), pairs["prompt_b"].to_numpy(copy=True)
    tokens = dict(zip(prompts["prompt"], prompts["tokens"], strict=True))
    progress = Progress("interpolation", len(pairs) * steps * len(layers), "points")
    top = activations["top_token"]
    tables = []
    for layer in layers:
        residual = activations[f"resid.{layer}"].to(model.device)
        table = pairs[["pair", "prompt_a", "prompt_b"]].copy()
        table["tokens_a"], table["tokens_b"] = [tokens[i] for i in a], [tokens[i] for i in b]
        table["layer"] = layer
        table["input_distance"] = torch.linalg.vector_norm(residual[b] - residual[a], dim=-1).cpu()
        parts = []
        for index, context in by_length([tokens[i] for i in a]):
            start, end = a[index], b[index]
            found = interpolate(
                model,
                torch.from_numpy(context),
                residual[start],
                residual[end],
                layer=layer,
                steps=steps,
                top_tokens=torch.stack([top[start], top[end]], dim=1) if logits else None,
                budget=budget,
                progress=progress,
            )
            columns = {name: list(value) for name, value in found.items()}
            parts.append(pd.DataFrame(columns, index=table.index[index]))
        tables.append(table.join(pd.concat(parts)))
    return pd.concat(tables, ignore_index=True)
