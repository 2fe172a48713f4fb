"""What makes the boundary: paths with the outputs of attention or of MLPs held fixed."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from stable_regions.figures import style
from stable_regions.figures.medians import draw_medians, spread_key, straight_line

TABLES = ("freezing", "freezing_curves")
SECTION = "appendix"
SHOWS = "attention or MLPs held fixed"

# Conditions over the whole depth, and how the axis calls them.
CONDITIONS = {
    ("nothing", "path"): "nothing",
    ("attention", "start"): "attention\nat A's",
    ("attention", "mean"): "attention\nat mean",
    ("MLPs", "start"): "MLPs\nat A's",
    ("MLPs", "mean"): "MLPs\nat mean",
}
DASHES: dict[str, tuple[float, tuple[float, ...]]] = {
    "nothing": (0, ()),
    "attention": (0, (5, 1.5)),
    "MLPs": (0, (1, 1)),
}


def draw(sharpness: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Curves of the first model; max slopes by condition, and by window of depth, of all.

    Parameters
    ----------
    sharpness, curves
        The tables `freezing` and `freezing_curves`.
    """
    style.use()
    layer = sharpness["layer"].min()
    chosen = (sharpness["layer"] == layer) & (sharpness["read_site"] == "post_norm")
    rows = sharpness[chosen].astype({"window": str})
    figure, axes = plt.subplots(
        1, 3, figsize=(style.FULL, 2.6), gridspec_kw={"width_ratios": [1, 1.3, 1.1]}
    )
    first = rows["model"].iloc[0]
    whole = (curves["window"].astype(str) == "all") & (curves["layer"] == layer)
    own = curves[whole & (curves["model"] == first) & (curves["held_at"] != "mean")]
    _draw_curves(axes[0], own, first)
    models = list(rows["model"].unique())
    places = {condition: place for place, condition in enumerate(CONDITIONS)}
    over_all = rows[rows["window"] == "all"]
    over_all = over_all.assign(
        place=[places[pair] for pair in zip(over_all["frozen"], over_all["held_at"], strict=True)]
    )
    windows = rows[rows["window"] != "all"].astype({"window": int})
    for i, model in enumerate(models):
        of_model = over_all[over_all["model"] == model]
        draw_medians(axes[1], of_model, "place", str(model), i, joined=False)
        _draw_windows(axes[2], windows[windows["model"] == model], i)
    straight_line(axes[1])
    straight_line(axes[2])
    top = 1.15 * rows["q75"].max()
    for axis in axes[1:]:
        axis.set(ylabel="max slope", ylim=(0.8, top))
    axes[1].set_xticks(range(len(CONDITIONS)), list(CONDITIONS.values()), fontsize=5.5)
    axes[1].set_xlim(-0.6, len(CONDITIONS) - 0.2)
    axes[2].set_xticks(sorted(windows["window"].unique()))
    axes[2].set_xlim(0.6, windows["window"].max() + 0.6)
    axes[2].set_xlabel("window of depth, early to late")
    style.panel(axes[0], "a", first)
    style.panel(axes[1], "b", "in all later layers")
    style.panel(axes[2], "c", "in one window, at A's")
    lines = axes[1].get_legend_handles_labels()[0]
    kinds = [
        Line2D([], [], color="0.3", linewidth=1, linestyle=DASHES[kind], label=f"{kind} (c)")
        for kind in ("attention", "MLPs")
    ]
    figure.legend(
        handles=[*lines, *kinds, *spread_key()], loc="outside lower center", ncols=4, fontsize=6
    )
    columns = ["panel", "model", "frozen", "held_at", "window", "first", "last", "pairs", "alpha"]
    columns += ["median", "q25", "q75", "ci_low", "ci_high"]
    parts = [own.assign(panel="a"), over_all.assign(panel="b"), windows.assign(panel="c")]
    return pd.concat(parts, ignore_index=True)[columns], figure


def _draw_curves(axes: Axes, curves: pd.DataFrame, model: str) -> None:
    for i, (frozen, curve) in enumerate(curves.groupby("frozen", sort=False)):
        colour = style.COLOURS[(6, 2, 4)[i]]
        axes.plot(
            curve["alpha"], curve["median"], color=colour, linestyle=DASHES[str(frozen)],
            label=f"{frozen} held" if frozen != "nothing" else "nothing held",
        )  # fmt: skip
        axes.fill_between(
            curve["alpha"], curve["q25"], curve["q75"], color=colour, alpha=0.15, linewidth=0
        )
    axes.axline((0, 0), (1, 1), color="0.7", linewidth=0.6, zorder=0)
    axes.set(xlabel=style.ALPHA_LABEL, ylabel=style.DISTANCE_LABEL, ylim=(-0.03, 1.08))
    axes.legend(fontsize=6, loc="upper left", borderpad=0)


def _draw_windows(axes: Axes, windows: pd.DataFrame, index: int) -> None:
    """Medians with intervals by window: a line for attention, and one for MLPs."""
    assert axes.figure is not None
    colour, _, marker = style.look(index)
    for shift, (frozen, part) in enumerate(windows.groupby("frozen", sort=False)):
        aside = ScaledTranslation((3.2 * index + 1.6 * shift) / 72, 0, axes.figure.dpi_scale_trans)
        place = axes.transData + aside
        axes.vlines(
            part["window"], part["ci_low"], part["ci_high"], color=colour, linewidth=2.2,
            transform=place,
        )  # fmt: skip
        axes.plot(
            part["window"], part["median"], color=colour, linestyle=DASHES[str(frozen)],
            linewidth=1, marker=marker, markersize=3, markeredgecolor="white",
            markeredgewidth=0.4, transform=place,
        )  # fmt: skip
