"""Figure 3: sharpness through training, by checkpoint."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from stable_regions.base.errors import UserError
from stable_regions.figures import style
from stable_regions.figures.medians import (
    draw_curves,
    draw_medians,
    short,
    spread_key,
    straight_line,
    with_facts,
)

TABLES = ("training", "training_curves", "models")
SECTION = "as in the original"
SHOWS = "training: relative distance and max slope"
ORIGINAL = "Figure 3"


def token_axis(axes: Axes, tokens: pd.Series) -> None:
    """A logarithmic axis of tokens seen that has a place for none.

    From 0 to the dotted line, which is at the power of ten below the first trained checkpoint, the
    scale is linear; from there on it is logarithmic.
    """
    trained = tokens[tokens > 0]
    if trained.empty:
        raise UserError("models.csv: no checkpoint of the experiment `training` saw any tokens")
    low, high = np.floor(np.log10(trained.min())), np.ceil(np.log10(trained.max()))
    start = 10.0**low
    axes.set_xscale("symlog", linthresh=start, linscale=0.6)
    axes.set_xlim(-0.25 * start, 1.5 * tokens.max())
    axes.axvline(start, color="0.5", linewidth=0.6, linestyle=(0, (1, 2)), ymax=0.4, zorder=0)
    powers = 10 ** np.arange(low, high + 1)
    ticks = [0, *powers[powers <= 1.5 * tokens.max()]]
    axes.set_xticks(ticks, ["0", *(short(tick) for tick in ticks[1:])])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("tokens seen (linear left of dots)")


def draw(
    sharpness: pd.DataFrame, curves: pd.DataFrame, models: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Median relative distance by checkpoint for the shallowest and the deepest model; max slopes.

    Parameters
    ----------
    sharpness, curves
        The tables `training` and `training_curves`, of checkpoints.
    models
        The table `models`: which model a checkpoint is of, and how many tokens it saw.
    """
    style.use()
    sharpness, curves = (
        with_facts(t, models).dropna(subset=["tokens"]).sort_values("tokens", kind="stable")
        for t in (sharpness, curves)
    )
    if sharpness.empty:
        raise UserError(
            "models.csv: no model of the experiment `training` says how many tokens it saw; "
            "its source.json, or a revision named like step1000-tokens4B, should"
        )
    order = sharpness.sort_values(["layers", "parameters", "name"])
    names = list(dict.fromkeys(order["name"]))
    ends = list(dict.fromkeys([names[0], names[-1]]))
    figure = plt.figure(figsize=(style.FULL, 4.6))
    grid = figure.add_gridspec(2, len(ends))
    axes = [figure.add_subplot(grid[0, i]) for i in range(len(ends))]
    parts = []
    for axis, letter, name in zip(axes, "ab", ends, strict=False):
        part = curves[curves["name"] == name].assign(panel=letter)
        part["line"] = part["model"]
        tokens = dict(zip(part["model"], part["tokens"], strict=True))
        draw_curves(axis, part, {m: short(t) for m, t in tokens.items()}, "tokens seen")
        size = sharpness.loc[sharpness["name"] == name, "parameters"].iloc[0]
        style.panel(axis, letter, f"{name}, {short(size)}")
        parts.append(part)
    last, letter = figure.add_subplot(grid[1, :]), "abc"[len(ends)]
    token_axis(last, sharpness["tokens"])
    for i, name in enumerate(names):
        part = sharpness[sharpness["name"] == name]
        draw_medians(last, part, "tokens", f"{name}, {short(part['parameters'].iloc[0])}", i)
        parts.append(part.assign(panel=letter))
    straight_line(last)
    last.set(ylabel="max slope", ylim=(0.8, 1.05 * sharpness["q75"].max()))
    lines = last.get_legend_handles_labels()[0]
    last.legend(handles=[*lines, *spread_key()], loc="center left", bbox_to_anchor=(1, 0.5))
    style.panel(last, letter, "sharpness in training")
    columns = ["panel", "model", "name", "parameters", "tokens", "pairs", "alpha"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high"]
    return pd.concat(parts, ignore_index=True)[columns], figure
