"""How well distances between words separate their kinds, by write layer."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style
from stable_regions.figures.clustering import draw_scores
from stable_regions.figures.figA_words_scores import PANELS
from stable_regions.measures.paths import DISTANCES

TABLES = ("words-layers_scores",)
SECTION = "appendix"
SHOWS = "what distances between words know, by write layer"


def draw(scores: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Two scores along the depth of the first model.

    Parameters
    ----------
    scores
        The table `words-layers_scores`.
    """
    rows = (scores["model"] == scores["model"].iloc[0]) & (scores["labels"] == "kind")
    return series(scores[rows], "layer", "write layer")


def series(scores: pd.DataFrame, along: str, label: str) -> tuple[pd.DataFrame, Figure]:
    """Both scores in the order of a column, the distances that need no later layer."""
    style.use()
    rows = scores[scores["score"].isin(PANELS) & scores["distance"].isin(DISTANCES)]
    figure, axes = plt.subplots(1, 2, figsize=(style.FULL, 2.6), sharey=True)
    for axis, letter, (score, title) in zip(axes, "ab", PANELS.items(), strict=True):
        part = rows[rows["score"] == score].rename(columns={"ci_low": "low", "ci_high": "high"})
        bands = part[[along, "chance_low", "chance_high"]].rename(
            columns={"chance_low": "low", "chance_high": "high"}
        )
        draw_scores(axis, part, bands, along=along)
        axis.set(xlabel=label)
        axis.set_xticks(part[along].unique())
        style.panel(axis, letter, title)
    handles = axes[0].get_legend_handles_labels()
    for axis in axes:
        axis.get_legend().remove()
    figure.legend(*handles, loc="outside lower center", ncols=6)
    return rows, figure
