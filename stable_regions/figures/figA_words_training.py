"""How well distances between words separate their kinds, through training."""

import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import style
from stable_regions.figures.figA_words_layers import series

TABLES = ("words-training_scores",)
SECTION = "appendix"
SHOWS = "what distances between words know, through training"


def draw(scores: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Two scores along the checkpoints of the first model, in the order of the study.

    Parameters
    ----------
    scores
        The table `words-training_scores`.
    """
    names = scores["model"].str.partition("@")[0]
    scores = scores[names == names.iloc[0]]
    rows = (scores["labels"] == "kind") & (scores["layer"] == scores["layer"].iloc[0])
    steps = [style.frame_title(ref).removeprefix("step ") for ref in scores["model"]]
    return series(scores.assign(step=steps)[rows], "step", "training step")
