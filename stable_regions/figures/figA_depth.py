"""Where a jump is made: max slope by the layer that is read, between depth and training."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from stable_regions.figures import style
from stable_regions.figures.fig3 import token_axis
from stable_regions.figures.medians import straight_line

TABLES = ("layers_reads", "depth_reads", "depth_rates", "models")
SECTION = "appendix"
SHOWS = "max slope and boundaries by read layer"


def draw(
    reads: pd.DataFrame, suite: pd.DataFrame, rates: pd.DataFrame, models: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """Max slope by read layer; by write and read layer; over models; and its rate in training.

    Parameters
    ----------
    reads
        The table `layers_reads`: a few models at many write layers.
    suite, rates
        The tables `depth_reads` and `depth_rates`: checkpoints of many models at few write layers.
    models
        The table `models`: of which model a checkpoint is, and how many tokens it saw.
    """
    style.use()
    figure, axes = plt.subplots(2, 3, figsize=(style.FULL, 4.4))
    by_read, grid, boundaries, count, share, training = axes.flat
    first = reads[reads["layer"] == reads["layer"].min()]
    for i, (model, part) in enumerate(first.groupby("model", sort=False)):
        _line(by_read, part, "read_layer", "median", i, str(model))
        _line(boundaries, part, "read_layer", "boundaries", i, str(model))
    parts = [first.assign(panel="a"), first.assign(panel="c")]
    for axis, letter, title in ((by_read, "a", "by read layer"), (boundaries, "c", "boundaries")):
        axis.set(xlabel="read layer")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.panel(axis, letter, title)
    boundaries.set(ylabel="boundaries on a path", ylim=(0, None))
    by_read.legend(fontsize=6, loc="upper left", borderpad=0)
    parts.append(_map(grid, reads).assign(panel="b"))

    facts = models[["model", "name", "layers", "tokens"]]
    suite = suite.merge(facts, on="model", validate="many_to_one").sort_values(
        ["layers", "name"], kind="stable"
    )
    last = suite[suite["tokens"] == suite.groupby("name")["tokens"].transform("max")]
    last = last.assign(share=last["between"] / (last["layers"] - 1))
    names = list(dict.fromkeys(last["name"]))
    for axis, along in ((count, "between"), (share, "share")):
        for (name, layer), part in last.groupby(["name", "layer"], sort=False):
            start = layer == last["layer"].min()
            label = str(name) if start else None
            _line(axis, part, along, "median", names.index(name), label, start)
    parts += [last.assign(panel=letter) for letter in "de"]
    count.set(xlabel="layers from writing to reading")
    share.set(xlabel="as a share of the depth")
    style.panel(count, "d", "by count of layers")
    style.panel(share, "e", "by share of depth")
    handles, labels = count.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=6.5, loc="outside lower center", ncols=6)
    rates = rates[rates["layer"] == rates["layer"].min()].merge(facts, on="model")
    rates = rates.dropna(subset=["tokens"]).sort_values("tokens", kind="stable")
    token_axis(training, rates["tokens"])
    training.set_xlabel("tokens seen")
    for name, part in rates.groupby("name", sort=False):
        _line(training, part, "tokens", "rate", names.index(name), None)
    parts.append(rates.assign(panel="f"))
    training.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    training.set(ylabel="log max slope per layer")
    style.panel(training, "f", "growth in training")
    for axis in (by_read, count, share):
        _log_slopes(axis)
    columns = ["panel", "model", "layer", "read_layer", "between", "tokens", "pairs"]
    columns += ["median", "ci_low", "ci_high", "boundaries", "rate"]
    return pd.concat(parts, ignore_index=True)[columns], figure


def _line(
    axes: Axes,
    part: pd.DataFrame,
    along: str,
    value: str,
    index: int,
    label: str | None,
    solid: bool = True,
) -> None:
    """A line with its 95 % interval as a band."""
    colour, _, marker = style.look(index)
    prefix = "boundaries" if value == "boundaries" else "ci"
    axes.fill_between(
        part[along], part[f"{prefix}_low"], part[f"{prefix}_high"],
        color=colour, alpha=0.25, linewidth=0,
    )  # fmt: skip
    axes.plot(
        part[along], part[value], color=colour, linestyle="-" if solid else (0, (3, 1)),
        linewidth=1, marker=marker, markersize=2.5 if solid else 0, markeredgewidth=0,
        label=None if label is None else style.plain(label),
    )  # fmt: skip


def _map(axes: Axes, reads: pd.DataFrame) -> pd.DataFrame:
    """The median max slope of the first model by write and read layer."""
    part = reads[reads["model"] == reads["model"].iloc[0]]
    table = part.pivot(index="layer", columns="read_layer", values="median")
    edges = np.arange(len(table) + 1)
    columns = np.append(table.columns - 0.5, table.columns[-1] + 0.5)
    assert axes.figure is not None
    image = axes.pcolormesh(
        columns, edges, np.ma.masked_invalid(table.to_numpy()), cmap="viridis",
        norm=LogNorm(vmin=1, vmax=max(1.1, part["median"].max())), rasterized=True,
    )  # fmt: skip
    axes.set_yticks(edges[:-1] + 0.5, [str(layer) for layer in table.index])
    axes.set(xlabel="read layer", ylabel="write layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    bar = axes.figure.colorbar(image, ax=axes, label="max slope")
    _mark(bar.ax)
    style.panel(axes, "b", str(part["model"].iloc[0]))
    return part


def _log_slopes(axes: Axes) -> None:
    """A logarithmic axis of max slopes, on which a steady growth by layer is a straight line."""
    straight_line(axes)
    axes.set(yscale="log", ylabel="max slope")
    _mark(axes)


def _mark(axes: Axes) -> None:
    """Ticks of max slopes on a logarithmic axis."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in (1, 1.2, 1.5, 2, 3, 4, 5, 7, 10, 20, 50) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
