"""How well each distance between words separates their kinds, against chance."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style

TABLES = ("words_scores", "words-control_scores")
SECTION = "appendix"
SHOWS = "what distances between words know"

PANELS = {"neighbours": "nearest neighbours of one kind", "ari": "clusters: adjusted Rand index"}


def draw(words: pd.DataFrame, control: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Two scores against the kinds of words: a row a distance, a colour a model.

    Parameters
    ----------
    words, control
        The tables `words_scores` and `words-control_scores`; their first write layers are drawn.
    """
    style.use()
    parts = [
        table[(table["layer"] == table["layer"].iloc[0]) & (table["labels"] == "kind")]
        for table in (words, control)
    ]
    scores = pd.concat(parts, ignore_index=True)
    rows = scores[scores["score"].isin(PANELS)]
    names = list(rows["distance"].unique())
    models = list(rows["model"].unique())
    figure, axes = plt.subplots(1, 2, figsize=(style.FULL, 0.9 + 0.24 * len(names)), sharey=True)
    for axis, letter, (score, title) in zip(axes, "ab", PANELS.items(), strict=True):
        for i, model in enumerate(models):
            part = rows[(rows["model"] == model) & (rows["score"] == score)]
            step = min(0.22, 0.9 / len(models)) * (i - (len(models) - 1) / 2)
            at = np.array([names.index(n) for n in part["distance"]]) + step
            axis.hlines(
                at, part["chance_low"], part["chance_high"], color="0.8", linewidth=5, zorder=0,
                label="shuffled kinds" if i == 0 else None,
            )  # fmt: skip
            axis.errorbar(
                part["value"], at,
                xerr=[part["value"] - part["ci_low"], part["ci_high"] - part["value"]],
                color=style.look(i)[0], marker="osDv"[i % 4], markersize=3.5, linestyle="none",
                elinewidth=0.9, label=model,
            )  # fmt: skip
        axis.set(xlim=(min(-0.02, rows["ci_low"].min() - 0.02), 1.02))
        style.panel(axis, letter, title)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(4, len(models) + 1),
    )
    return rows, figure
