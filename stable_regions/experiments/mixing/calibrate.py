"""A little of the work on mixtures, timed to estimate what it costs."""

from functools import partial

from stable_regions.experiments.directions.calibrate import directions
from stable_regions.experiments.mixing.measure import MEASURES

WAYS = {"mixtures": partial(directions, measures=MEASURES)}
