"""What the max slope grows with: rival laws, compared by how well they predict a model left out."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

FEWEST = 5  # models, of which all but one fit a law's two numbers at most
# What a law reads of a cell, which is a model, a write layer and a read layer: `between` (layers
# from the one written to the one read), `layers`, `hidden_size`, `parameters`, `held_out_loss`.
Facts = Mapping[str, np.ndarray]


def _alone(values: np.ndarray) -> Float[np.ndarray, "cell 1"]:
    return values.astype(np.float64)[:, None]


def _with_constant(values: np.ndarray) -> Float[np.ndarray, "cell 2"]:
    return np.stack([np.ones(len(values)), values], axis=1)


# The predictors of a cell's log max slope. Those that count layers have no constant: read where it
# was written, a path is straight, and its log max slope 0.
LAWS: Mapping[str, Callable[[Facts], Float[np.ndarray, "cell predictor"]]] = {
    "layers between": lambda facts: _alone(facts["between"]),
    "share of the depth": lambda facts: _alone(facts["between"] / (facts["layers"] - 1)),
    "width": lambda facts: _with_constant(np.log(facts["hidden_size"])),
    "parameters": lambda facts: _with_constant(np.log(facts["parameters"])),
    "loss": lambda facts: _with_constant(facts["held_out_loss"]),
}


def left_out_error(
    logs: Float[np.ndarray, " cell"],
    predictors: Float[np.ndarray, "cell predictor"],
    model: Int[np.ndarray, " cell"],
) -> float:
    """Root mean squared error of predicting the cells of a model from those of all others.

    By least squares, in which each model weighs the same, however many cells it has.

    Parameters
    ----------
    logs
        Logs of the median max slopes.
    model
        The number of each cell's model, from 0.
    """
    cells_of_model = np.bincount(model)
    weight = 1 / np.sqrt(cells_of_model[model])
    errors = []
    for left_out in range(len(cells_of_model)):
        others, own = model != left_out, model == left_out
        fit = np.linalg.lstsq(
            predictors[others] * weight[others, None], logs[others] * weight[others], rcond=None
        )[0]
        errors.append(np.mean((logs[own] - predictors[own] @ fit) ** 2))
    return float(np.sqrt(np.mean(errors)))
