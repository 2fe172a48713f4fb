"""More planes through training, each triple on one scale for all its frames."""

import pandas as pd
from matplotlib.figure import Figure

from stable_regions.figures import figA_planes_training

TABLES = ("training-planes_points", "training-planes_triples")
SECTION = "appendix"
SHOWS = "more triples through training, on a common scale"


def draw(points: pd.DataFrame, triples: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """As `figA_planes_training`, on a common scale."""
    return figA_planes_training.draw(points, triples, common=True)
