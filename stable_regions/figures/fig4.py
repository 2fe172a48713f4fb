"""Figure 4: sharpness against size, within families and over all."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stable_regions.figures import style
from stable_regions.figures.medians import (
    draw_curves,
    draw_medians,
    short,
    spread_key,
    straight_line,
    with_facts,
)


def draw(
    sharpness: pd.DataFrame, curves: pd.DataFrame, models: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Median relative distance by size for the two families with most sizes; max slopes of all.

    Parameters
    ----------
    sharpness, curves
        The tables `size` and `size_curves`.
    models
        The table `models`: families and shapes.
    """
    style.use()
    sharpness, curves = (with_facts(t, models) for t in (sharpness, curves))
    sharpness = sharpness.sort_values("parameters", kind="stable")
    families = list(sharpness["family"].value_counts().index)  # ties: in order of size
    shown = families[:2]
    figure, axes = plt.subplots(1, len(shown) + 1, figsize=(style.FULL, 2.4))
    drawn = []
    for axis, letter, family in zip(axes, "ab", shown, strict=False):
        members = sharpness[sharpness["family"] == family]
        labels = {
            row.model: f"{short(row.parameters)} ({row.layers}×{row.hidden_size})"
            for row in members.itertuples()
        }
        part = curves[curves["family"] == family].assign(panel=letter)
        part["line"] = part["model"]
        draw_curves(axis, part, labels, "parameters (layers×width)")
        style.panel(axis, letter, family)
        drawn.append(part.merge(members[["model", "parameters"]], on="model"))
    last, letter = axes[-1], "abc"[len(shown)]
    last.set_xscale("log")
    for i, family in enumerate(families):
        part = sharpness[sharpness["family"] == family]
        draw_medians(last, part, "parameters", family, i)
        drawn.append(part.assign(panel=letter))
    least, most = sharpness["parameters"].min(), sharpness["parameters"].max()
    last.set_xlim(least / 2, most * 2)
    wide = most / least > 30
    last.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    last.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    last.xaxis.set_minor_formatter(NullFormatter())
    straight_line(last)
    last.set(xlabel="parameters", ylabel="max slope")
    lines = last.get_legend_handles_labels()[0]
    last.legend(handles=[*lines, *spread_key()], fontsize=6, loc="upper left", borderpad=0)
    top = 0.8 + (sharpness["q75"].max() - 0.8) * (1.15 + 0.09 * (len(families) + 2))
    last.set_ylim(0.8, top)
    style.panel(last, letter, "sharpness and size")
    columns = ["panel", "model", "family", "parameters", "pairs", "alpha"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high"]
    return pd.concat(drawn, ignore_index=True)[columns], figure
