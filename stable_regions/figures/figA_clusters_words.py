"""Words clustered by the barriers between them: the ordered matrix and the condensed tree."""

import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import figA_clusters

TABLES = ("words_entries", "words_map", "words_trees")
SECTION = "appendix"
SHOWS = "words, clustered by barrier"


def draw(
    entries: pd.DataFrame, places: pd.DataFrame, trees: pd.DataFrame
) -> tuple[pd.DataFrame, Figure]:
    """As `figA_clusters.draw`, from the tables of the experiment `words`."""
    return figA_clusters.draw(entries, places, trees, distance="barrier")
