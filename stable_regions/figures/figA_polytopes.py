"""Polytopes: thousands of gates change sign on a path that meets one region boundary."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style

TABLES = ("polytopes_pairs", "polytopes_gates", "polytopes_comparison")
SECTION = "appendix"
SHOWS = "gate mismatches"
ORIGINAL = "appendix F"


def draw(
    pairs: pd.DataFrame, gates: pd.DataFrame, comparison: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Mismatches of the last layer, sign changes by layer, and sign changes for each boundary.

    Parameters
    ----------
    pairs, gates, comparison
        The tables `polytopes_pairs`, `polytopes_gates` and `polytopes_comparison`; the lowest write
        layer is drawn.
    """
    style.use()
    layer = pairs["layer"].min()
    pairs, gates = pairs[pairs["layer"] == layer], gates[gates["layer"] == layer]
    figure, axes = plt.subplots(
        1, 3, figsize=(style.FULL, 2.5), gridspec_kw={"width_ratios": [1, 1, 1.2]}
    )
    parts = [
        _mismatches(axes[0], pairs),
        _layers(axes[1], gates),
        _ratios(axes[2], comparison[comparison["layer"] == layer]),
    ]
    style.panel(axes[0], "a", "last layer")
    style.panel(axes[1], "b", "each layer")
    style.panel(axes[2], "c", "for each boundary")
    return pd.concat(parts, ignore_index=True), figure


def _mismatches(axes: plt.Axes, pairs: pd.DataFrame) -> pd.DataFrame:
    most = pairs["mismatch_last"].max() + 1
    edges = np.linspace(0, most, 31)
    parts = []
    for i, (model, some) in enumerate(pairs.groupby("model", sort=False)):
        number, _ = np.histogram(some["mismatch_last"], edges)
        colour, dash, _ = style.look(i)
        axes.stairs(number, edges, fill=True, color=colour, alpha=0.3)
        axes.stairs(number, edges, color=colour, linestyle=dash, linewidth=1.1, label=model)
        parts.append(
            pd.DataFrame(
                {"panel": "a", "model": model, "mismatch": edges[:-1], "bin_end": edges[1:],
                 "pairs": number}
            )
        )  # fmt: skip
    axes.set(xlabel="gates of unlike sign at the ends", ylabel="pairs")
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return pd.concat(parts)


def _layers(axes: plt.Axes, gates: pd.DataFrame) -> pd.DataFrame:
    gates = gates[gates["read_layer"] != "all"]
    gates = gates.assign(panel="b", read_layer=gates["read_layer"].astype(int))
    for i, (_, some) in enumerate(gates.groupby("model", sort=False)):
        colour, dash, _ = style.look(i)
        for measure, width in (("passed", 1.6), ("mismatch", 0.8)):
            line = some[some["measure"] == measure]
            axes.plot(
                line["read_layer"], line["median"], color=colour, linestyle=dash,
                linewidth=width,
            )  # fmt: skip
            axes.fill_between(
                line["read_layer"], line["q25"], line["q75"], color=colour, alpha=0.15, linewidth=0
            )
    axes.plot([], [], color="0.3", linewidth=1.6, label="along the path")
    axes.plot([], [], color="0.3", linewidth=0.8, label="ends alone")
    axes.set(xlabel="layer", ylabel="sign changes (median)", ylim=(0, 1.35 * gates["q75"].max()))
    axes.locator_params(axis="x", integer=True)
    axes.legend(loc="upper right")
    columns = ["panel", "model", "measure", "read_layer", "pairs", "median", "q25", "q75"]
    return gates[columns]


def _ratios(axes: plt.Axes, comparison: pd.DataFrame) -> pd.DataFrame:
    chosen = (comparison["read_site"] == "post_norm") & comparison["measure"].str.startswith(
        "per_boundary"
    )
    rows = comparison[chosen & (comparison["pairs"] > 0)].assign(panel="c")
    names = list(comparison["definition"].unique())
    models = comparison["model"].unique()
    for i, model in enumerate(models):
        colour, _, _ = style.look(i)
        for measure, marker in (("per_boundary", "o"), ("per_boundary_last", "s")):
            some = rows[(rows["model"] == model) & (rows["measure"] == measure)]
            places = np.array([names.index(n) for n in some["definition"]])
            axes.errorbar(
                some["median"],
                places + min(0.18, 0.8 / len(models)) * i,
                xerr=[some["median"] - some["q25"], some["q75"] - some["median"]],
                color=colour,
                marker=marker,
                markersize=3,
                markerfacecolor=colour if marker == "o" else "white",
                linestyle="none",
                elinewidth=0.8,
            )
    axes.plot([], [], "o", color="0.3", markersize=3, label="all layers")
    axes.plot([], [], "s", color="0.3", markersize=3, markerfacecolor="white", label="the last")
    axes.set(xscale="log", xlabel="sign changes (median)")
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_ylim(len(names) - 0.5, -1.6)
    axes.legend(loc="upper center", ncols=2, handletextpad=0.2, columnspacing=1)
    columns = ["panel", "model", "definition", "measure", "pairs", "median", "q25", "q75"]
    return rows[columns]
