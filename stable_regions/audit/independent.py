"""An independent check of the max slope: deliberately simple, and separate from the package.

The model is Hugging Face's own, and one forward hook writes the points of a path: each in a copy of
the whole prompt, all copies in one batch. There is no TransformerLens, no shared prefix, and no
code in common with the engine or the measures.
"""

from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stable_regions.base.errors import UserError

PAIRS = 8
# The largest relative difference that rounding explains. Float32 rounds by 6e-8, and some thirty
# layers make it 1e-6 of an output's norm. Where d(1) is a tenth of that norm, a distance is then
# known to 1e-5 of d(1), and a slope, a difference of two distances times fifty steps, to 1e-3. A
# wrong token, layer, norm or grid moves a slope by much more.
TOLERANCE = 1e-3


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder layers of a Hugging Face model: its one list of that many modules."""
    count = model.config.get_text_config().num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if len(lists) != 1:
        raise UserError(
            f"{type(model).__name__}: has {len(lists)} lists of {count} layers, not one"
        )
    return lists[0]


@torch.no_grad()
def output_distances(
    model: PreTrainedModel, prompt_a: list[int], prompt_b: list[int], *, layer: int, steps: int
) -> list[float]:
    """`|F_A(X(alpha)) - F_A(A)|` for `steps` values of alpha from 0 to 1, after the final norm."""
    ends: list[Tensor] = []
    points: list[Tensor] = []

    def patch(module: nn.Module, inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        if not points:
            ends.append(hidden[0, -1].clone())
            return None
        hidden = hidden.clone()
        hidden[:, -1] = torch.stack(points)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    def run(tokens: list[int]) -> Tensor:
        device = next(model.parameters()).device
        ids = torch.tensor([tokens] * max(1, len(points)), device=device)
        return model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, -1].double()

    handle = blocks(model)[layer].register_forward_hook(patch)
    try:
        clean = run(prompt_a)
        run(prompt_b)
        a, b = ends
        points += [(1 - i / (steps - 1)) * a + i / (steps - 1) * b for i in range(steps)]
        return (run(prompt_a) - clean).pow(2).sum(-1).sqrt().tolist()
    finally:
        handle.remove()


def sharpest_rise(distances: list[float]) -> float:
    """The largest rise from one point to the next, times the number of rises, over the last."""
    rises = [after - before for before, after in pairwise(distances)]
    return max(rises) * len(rises) / distances[-1]


def compare(model: PreTrainedModel, raw: pd.DataFrame, slopes: pd.DataFrame) -> pd.DataFrame:
    """Recompute the first pairs that end in different tokens, at the first layer.

    Where the last tokens are the same, d(1) is all but nothing, and rounding a large part of it.

    Parameters
    ----------
    model
        As Hugging Face's library loads it, in float32.
    raw
        Raw output of an interpolation on the model: tokens and `distance_post_norm`.
    slopes
        Its table of pairs: `pair`, `layer`, `max_slope_post_norm`.

    Returns
    -------
    One row a pair: `layer`, `pair`, `steps`, `max_slope` and `second_max_slope`, `slope_difference`
    (as a part of the first) and `distance_difference` (largest over the path, as a part of d(1)).
    """
    layer = int(raw["layer"].min())
    raw = raw[raw["layer"] == layer]
    different = [a[-1] != b[-1] for a, b in zip(raw["tokens_a"], raw["tokens_b"], strict=True)]
    if not any(different):
        raise UserError("no pair ends in different tokens; at least one is needed")
    slope = slopes[slopes["layer"] == layer].set_index("pair")["max_slope_post_norm"]
    rows = []
    for pair in raw[different].head(PAIRS).to_dict("records"):
        first = list(pair["distance_post_norm"])
        tokens = ([int(token) for token in pair[f"tokens_{side}"]] for side in "ab")
        second = output_distances(model, *tokens, layer=layer, steps=len(first))
        ours, theirs = float(slope[pair["pair"]]), sharpest_rise(second)
        rows.append(
            {
                "layer": layer,
                "pair": pair["pair"],
                "steps": len(first),
                "max_slope": ours,
                "second_max_slope": theirs,
                "slope_difference": abs(theirs - ours) / ours,
                "distance_difference": max(
                    abs(x - y) / first[-1] for x, y in zip(first, second, strict=True)
                ),
            }
        )
    return pd.DataFrame(rows)


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """The largest differences of each model, once all are within the tolerance.

    Parameters
    ----------
    table
        As made by `compare`, with the `model` of each row.

    Returns
    -------
    One row a model: `pairs`, `layer`, `steps`, the largest `slope_difference` and
    `distance_difference`, `tolerance`.

    Raises
    ------
    UserError
        A difference is above `TOLERANCE`, or is no number: the worst of them.
    """
    columns = ["slope_difference", "distance_difference"]
    worst = table[columns].max(axis=1, skipna=False).fillna(float("inf"))
    if not (worst <= TOLERANCE).all():
        row = table.iloc[int(worst.argmax())]
        raise UserError(
            f"{row['model']}: pair {row['pair']} has a max slope of {row['max_slope']:.6g}, the "
            f"independent check gives {row['second_max_slope']:.6g}; slopes or distances differ by "
            f"{worst.max():.1e}, more than the {TOLERANCE:.0e} that rounding explains"
        )
    grouped = table.groupby("model", sort=False)
    largest = grouped.agg(
        pairs=("pair", "size"),
        layer=("layer", "first"),
        steps=("steps", "first"),
        **{column: (column, "max") for column in columns},
    )
    return largest.assign(tolerance=TOLERANCE).reset_index()
