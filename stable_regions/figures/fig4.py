"""Figure 4: sharpness against size, within series of models and over all."""

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
from stable_regions.paper.series import sizes

TABLES = ("size", "size_curves", "models")
SECTION = "as in the original"
SHOWS = "size: relative distance and max slope"
ORIGINAL = "Figure 4"

APART = "in no series"  # how the last panel names the models that no series takes in


def draw(
    sharpness: pd.DataFrame, curves: pd.DataFrame, models: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Median relative distance by size for the two series with most sizes; max slopes of all.

    Parameters
    ----------
    sharpness, curves
        The tables `size` and `size_curves`.
    models
        The table `models`: families and shapes.
    """
    style.use()
    sharpness, curves = (with_facts(t, models) for t in (sharpness, curves))
    rows = sharpness.set_index("model", drop=False).rename_axis(None)
    size_series, left_out = sizes(models[models["model"].isin(sharpness["model"])])
    size_series.sort(key=lambda one: -len(one.models))
    series = {one.title: rows.loc[one.models] for one in size_series}
    panels = list(series)[:2]
    if left_out:
        series[APART] = rows.loc[list(left_out)]
    figure, axes = plt.subplots(1, len(panels) + 1, figsize=(style.FULL, 2.5))
    parts = []
    for axis, letter, name in zip(axes, "ab", panels, strict=False):
        members = series[name]
        labels = {
            row["model"]: f"{short(row['parameters'])} ({row['layers']}×{row['hidden_size']})"
            for row in members.to_dict("records")
        }
        part = curves[curves["model"].isin(members["model"])].assign(panel=letter, series=name)
        part["line"] = part["model"]
        draw_curves(axis, part, labels, "parameters (layers×width)")
        style.panel(axis, letter, name)
        parts.append(part.merge(members[["model", "parameters"]], on="model"))
    last, letter = axes[-1], "abc"[len(panels)]
    last.set_xscale("log")
    for i, (name, part) in enumerate(series.items()):
        draw_medians(last, part, "parameters", name, i, joined=name != APART)
        parts.append(part.assign(panel=letter, series=name))
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
    top = 0.8 + (sharpness["q75"].max() - 0.8) * (1.15 + 0.09 * (len(series) + 2))
    last.set_ylim(0.8, top)
    style.panel(last, letter, "sharpness and size")
    columns = ["panel", "series", "model", "family", "parameters", "pairs", "alpha"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high"]
    return pd.concat(parts, ignore_index=True)[columns], figure
