"""Loss curves of the models trained here."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from stable_regions.figures import style
from stable_regions.figures.medians import short
from stable_regions.measures.conventions import SMOOTHED

TABLES = ("training_losses",)
SECTION = "appendix"
SHOWS = "loss curves of the models trained here"

# Updates that a smoothed point of the training loss is the mean of.


def draw(losses: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Training loss (smoothed) as lines, held-out loss at the checkpoints as points.

    Parameters
    ----------
    losses
        The table `training_losses`: `model`, `step`, `tokens`, `train_loss` and `held_out_loss`
        (missing between checkpoints), in nats a token.
    """
    style.use()
    figure, axes = plt.subplots(figsize=(style.COLUMN, 2.4))
    parts = []
    for i, (model, part) in enumerate(losses.groupby("model", sort=False)):
        part = part.sort_values("step")
        smooth = part["train_loss"].rolling(SMOOTHED, min_periods=1).mean()
        part = part.assign(train_loss_smoothed=smooth.where(part["train_loss"].notna()))
        colour, dash, marker = style.look(i)
        axes.plot(
            part["tokens"], part["train_loss_smoothed"], color=colour, linestyle=dash,
            linewidth=0.9, label=model,
        )  # fmt: skip
        axes.scatter(
            part["tokens"], part["held_out_loss"], color=colour, s=12, zorder=3,
            marker=marker, edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        parts.append(part)
    # the loss before any training is the logarithm of the vocabulary; it has no place on this axis
    axes.set_xscale("log")
    axes.set_xlim(losses.loc[losses["tokens"] > 0, "tokens"].min() / 1.2)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="tokens seen", ylabel="loss (nats a token)")
    axes.legend(loc="lower left", fontsize=6)
    columns = ["model", "step", "tokens", "train_loss", "train_loss_smoothed", "held_out_loss"]
    return pd.concat(parts, ignore_index=True)[columns], figure
