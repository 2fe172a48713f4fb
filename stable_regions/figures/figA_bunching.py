"""Gates that change sign around the place where the output is fastest, and through training."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stable_regions.figures import style
from stable_regions.figures.fig3 import token_axis
from stable_regions.figures.medians import draw_medians, spread_key, with_facts

TABLES = ("polytopes_profile", "polytopes-training_bunching", "models")
SECTION = "appendix"
SHOWS = "gates around a boundary, and through training"
AWAY = 12  # steps to either side that are drawn


def draw(
    profile: pd.DataFrame, bunching: pd.DataFrame, models: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Sign changes a step around the fastest step, and their bunching by checkpoint.

    Parameters
    ----------
    profile
        The table `polytopes_profile`; the lowest write layer is drawn.
    bunching
        The table `polytopes-training_bunching`.
    models
        The table `models`: how many tokens a checkpoint saw.
    """
    style.use()
    profile = profile[(profile["layer"] == profile["layer"].min()) & (profile["pairs"] > 0)]
    profile = profile[profile["away"].abs() <= AWAY]
    bunching = with_facts(bunching, models).sort_values(["name", "tokens"], kind="stable")
    figure, axes = plt.subplots(1, 2, figsize=(style.FULL, 2.4))
    _around(axes[0], profile)
    series = bunching.groupby(["name", "measure"], sort=False)
    for i, ((name, measure), some) in enumerate(series):
        draw_medians(axes[1], some, "tokens", f"{measure}, {name}", i)
    if (bunching["tokens"] > 0).any():
        token_axis(axes[1], bunching["tokens"])
    axes[1].axhline(1, color="0.7", linewidth=0.6, zorder=0)
    high = max(1.1, bunching["q75"].max())  # and room for the legend above
    axes[1].set(ylabel="fastest tenth over the rest", ylim=(0.8, high + 0.45 * (high - 0.8)))
    lines = axes[1].get_legend_handles_labels()[0]
    axes[1].legend(handles=[*lines, *spread_key()], fontsize=6, loc="upper left")
    style.panel(axes[0], "a", "around the fastest step")
    style.panel(axes[1], "b", "through training")
    columns = ["panel", "model", "away", "tokens", "measure", "pairs", "gates", "output", "median"]
    parts = [profile.assign(panel="a"), bunching.assign(panel="b")]
    columns += ["q25", "q75", "ci_low", "ci_high"]
    return pd.concat(parts, ignore_index=True)[columns], figure


def _around(axes: Axes, profile: pd.DataFrame) -> None:
    for i, (model, part) in enumerate(profile.groupby("model", sort=False)):
        colour, _, _ = style.look(i)
        axes.plot(part["away"], part["gates"], color=colour, linewidth=1.6, label=str(model))
        axes.fill_between(
            part["away"],
            part["gates_q25"],
            part["gates_q75"],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(part["away"], part["output"], color=colour, linewidth=0.8, linestyle="--")
    axes.plot([], [], color="0.3", linewidth=1.6, label="gates")
    axes.plot([], [], color="0.3", linewidth=0.8, linestyle="--", label="output")
    axes.axhline(1, color="0.7", linewidth=0.6, zorder=0)
    axes.set(xlabel="steps from the fastest one", ylabel="over the path's mean")
    axes.legend(fontsize=6, loc="upper right")
