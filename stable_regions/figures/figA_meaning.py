"""Meaning: which pairs have sharp paths, whether last token or context matters, and predictions."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style
from stable_regions.measures.conventions import DIFFERS, HIGH, LOW, WHISKERS

TABLES = ("meaning_slopes", "controls_slopes", "meaning_predictions")
SECTION = "appendix"
SHOWS = "max slopes of many pairs, low and high"
ORIGINAL = "appendix G"

TICKS = (1, 2, 3, 5, 10, 20, 50)


def draw(
    slopes: pd.DataFrame, controls: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Histogram of max slopes, max slopes by what differs, and steps of the prediction.

    Parameters
    ----------
    slopes, controls, predictions
        The tables `meaning_slopes`, `controls_slopes` and `meaning_predictions`; the lowest write
        layer is drawn, and in (a) and (c) the first model.
    """
    style.use()
    first = slopes["model"].iloc[0]
    slopes, controls, predictions = (
        table[table["layer"] == slopes["layer"].min()] for table in (slopes, controls, predictions)
    )
    figure, axes = plt.subplots(
        1, 3, figsize=(style.FULL, 2.5), gridspec_kw={"width_ratios": [1.25, 1.25, 1]}
    )
    parts = [
        _histogram(axes[0], slopes[(slopes["model"] == first) & slopes["max_slope"].notna()]),
        _controls(axes[1], controls[controls["max_slope"].notna()]),
        _predictions(axes[2], predictions[predictions["model"] == first]),
    ]
    style.panel(axes[0], "a", "random pairs")
    style.panel(axes[1], "b", "crossed pairs")
    style.panel(axes[2], "c", "predictions")
    return pd.concat(parts, ignore_index=True), figure


def _histogram(axes: plt.Axes, slopes: pd.DataFrame) -> pd.DataFrame:
    top = max(HIGH * 1.2, slopes["max_slope"].max() * 1.01)
    edges = np.geomspace(min(0.95, slopes["max_slope"].min()), top, 41)
    parts = []
    for same, colour, hatch, label in (
        (0, style.COLOURS[0], None, "last tokens differ"),
        (1, style.COLOURS[1], "////", "same last token"),
    ):
        some = slopes.loc[slopes["same_last_token"] == same, "max_slope"]
        number, _ = np.histogram(some, edges)
        axes.stairs(number, edges, fill=True, facecolor=colour, alpha=0.35)
        axes.stairs(
            number, edges, color=colour, hatch=hatch, linewidth=0.9, fill=False,
            label=f"{label} ({len(some)})",
        )  # fmt: skip
        parts.append(
            pd.DataFrame(
                {"panel": "a", "same_last_token": same, "max_slope": edges[:-1],
                 "bin_end": edges[1:], "pairs": number}
            )
        )  # fmt: skip
    for bound in (LOW, HIGH):
        axes.axvline(bound, ymax=0.72, color="0.4", linewidth=0.7, linestyle=":")
    ticks = [t for t in TICKS if edges[0] <= t <= edges[-1]]
    axes.set(xscale="log", yscale="symlog", xlabel="max slope", ylabel="pairs", ylim=(0, None))
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 8 * axes.get_ylim()[1])
    axes.legend(loc="upper right")
    return pd.concat(parts)


def _controls(axes: plt.Axes, controls: pd.DataFrame) -> pd.DataFrame:
    models = list(controls["model"].unique())
    width = 0.7 / len(models)
    parts = []
    for i, model in enumerate(models):
        for place, differs in enumerate(DIFFERS):
            chosen = (controls["model"] == model) & (controls["differs"] == differs)
            values = controls.loc[chosen, "max_slope"]
            if values.empty:
                continue
            box = axes.boxplot(
                values,
                positions=[place + (i - (len(models) - 1) / 2) * width],
                widths=0.8 * width,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                medianprops={"color": "black"},
            )
            box["boxes"][0].set(facecolor=style.look(i)[0], alpha=0.55 if i == 0 else 0.25)
            box["boxes"][0].set_hatch(None if i == 0 else "....")
            quantiles = np.quantile(values, [WHISKERS[0], 0.25, 0.5, 0.75, WHISKERS[1]])
            names = ["q05", "q25", "median", "q75", "q95"]
            parts.append(
                {"panel": "b", "model": model, "differs": differs, "pairs": len(values)}
                | dict(zip(names, quantiles, strict=True))
            )
        axes.bar(
            0, 0, color=style.look(i)[0], alpha=0.55 if i == 0 else 0.25,
            hatch=None if i == 0 else "....", label=model,
        )  # fmt: skip
    top = max(row["q95"] for row in parts)
    axes.set(yscale="log", ylabel="max slope", ylim=(0.9, 1.2 * top ** (1 + 0.17 * len(models))))
    ticks = [t for t in TICKS if t <= top * 1.2]
    axes.set_yticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xticks(range(len(DIFFERS)), DIFFERS)
    axes.set(xlabel="what differs between the prompts")
    axes.legend(loc="upper left")
    return pd.DataFrame(parts)


def _predictions(axes: plt.Axes, predictions: pd.DataFrame) -> pd.DataFrame:
    labels = [
        ("step_region", "step in a region"),
        ("step_boundary", "step in a boundary"),
        ("within", "to the region's end"),
        ("across", "to behind the boundary"),
        ("ends", "to the other end"),
    ]
    rows = predictions.set_index("measure").loc[[name for name, _ in labels]]
    for place, (name, _) in enumerate(labels):
        row = rows.loc[name]
        colour = style.COLOURS[0] if name in ("step_region", "within") else style.COLOURS[1]
        axes.barh(place, row["value"], 0.6, color=colour, alpha=0.55)
        error = [[row["value"] - row["ci_low"]], [row["ci_high"] - row["value"]]]
        axes.errorbar(row["value"], place, xerr=error, color="black", elinewidth=0.9)
    axes.set_yticks(range(len(labels)), [label for _, label in labels], fontsize=6)
    axes.invert_yaxis()
    axes.set(xlabel="JS distance (mean)", xlim=(0, None))
    columns = ["panel", "measure", "pairs", "value", "ci_low", "ci_high"]
    return rows.reset_index().assign(panel="c")[columns]
