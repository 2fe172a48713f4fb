"""What the front door gives: small frozen objects with a table and a picture.

Distances are L2, in units of the residual stream at the read site. Nothing here imports torch.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from stable_regions.measures.boundaries import in_boundary
from stable_regions.measures.paths import max_slope, relative

if TYPE_CHECKING:
    from stable_regions.front.drawing import Picture


@dataclass(frozen=True)
class Place:
    """What is written and where: the prompt, the write layer and the position.

    Attributes
    ----------
    model
        As it was asked for.
    text, tokens
        The prompt in whose context outputs are taken, and what each of its tokens says.
    layer
        The residual stream after this one is written.
    position
        Of the token that is written, counted from 0. Outputs are read at the last one.
    verdict
        Of the load check at this layer.
    """

    model: str
    text: str
    tokens: tuple[str, ...]
    layer: int
    position: int
    verdict: str

    @property
    def is_last(self) -> bool:
        """Whether what is written is also where outputs are read, as in the paper."""
        return self.position == len(self.tokens) - 1


@dataclass(frozen=True)
class Run:
    """A stretch of a path on which the model predicts one token."""

    text: str
    first: float  # alpha of its first point
    last: float


@dataclass(frozen=True)
class PathResult:
    """The output along a path `X(alpha) = A + alpha (B - A)` (the paper, section 3).

    Attributes
    ----------
    place
        Where A is written, and in which prompt.
    other
        The prompt that B is of; of a direction of one's own, which B - A is then, its name.
    other_tokens
        What B's tokens say; none of a direction.
    alpha : `[step]`
    distance, distance_pre_norm : `[step]`
        From the output at alpha = 0, after the final norm and before it.
    steps : `[step - 1]`
        Between successive outputs, after the final norm.
    top_token, probability : `[step]`
        The most likely next token, and how likely it is.
    top_text
        What this token says, one for each step.
    input_distance
        Between A and B.
    input_norm
        Of A.
    """

    place: Place
    other: str
    other_tokens: tuple[str, ...]
    alpha: Float[np.ndarray, " step"]
    distance: Float[np.ndarray, " step"]
    distance_pre_norm: Float[np.ndarray, " step"]
    steps: Float[np.ndarray, " rise"]
    top_token: Int[np.ndarray, " step"]
    probability: Float[np.ndarray, " step"]
    top_text: tuple[str, ...]
    input_distance: float
    input_norm: float

    @property
    def end_distance(self) -> float:
        """d(1): how far apart the outputs at the two ends are."""
        return float(self.distance[-1])

    @property
    def relative(self) -> Float[np.ndarray, " step"]:
        """d(alpha) / d(1); NaN where both ends give one output."""
        return relative(self.distance)

    @property
    def max_slope(self) -> float:
        """Sharpness: the largest rise of the relative distance in a step, times the steps.

        A straight line has 1 (the paper, section 4.1).
        """
        return float(max_slope(self.distance))

    @property
    def boundaries(self) -> list[tuple[float, float]]:
        """Where the output moves more than twice as fast as on average: alpha from, alpha to."""
        inside = in_boundary(self.steps[None])[0]
        edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
        return [
            (float(self.alpha[a]), float(self.alpha[b]))
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]

    @property
    def predictions(self) -> list[Run]:
        """The tokens predicted along the path, one after another."""
        edges = [0, *(np.flatnonzero(np.diff(self.top_token)) + 1), len(self.alpha)]
        return [
            Run(self.top_text[a], float(self.alpha[a]), float(self.alpha[b - 1]))
            for a, b in pairwise(edges)
        ]

    def table(self) -> pd.DataFrame:
        """One row a step: `alpha`, distances, the predicted token and how likely it is."""
        return pd.DataFrame(
            {
                "alpha": self.alpha,
                "distance": self.distance,
                "distance_pre_norm": self.distance_pre_norm,
                "relative": self.relative,
                "top_token": self.top_token,
                "top_text": self.top_text,
                "probability": self.probability,
            }
        )

    def plot(self, path: str | Path | None = None) -> "Picture":
        """The relative distance along the path, boundaries shaded, predictions below.

        With a path, it is written there, as PNG or by another ending that matplotlib knows.
        """
        from stable_regions.front import drawing

        return drawing.saved(drawing.draw_paths([self]), path)


@dataclass(frozen=True)
class PlaneResult:
    """Outputs over the plane of three prompts, `X(a, b) = A + a (B - A) + b (C - P)`.

    P is the orthogonal projection of C onto the line AB (the paper, section 3).

    Attributes
    ----------
    place
        Of A.
    texts
        The prompts A, B and C.
    last_tokens
        What the last token of each says.
    axis : `[n]`
        The values of a, and of b.
    distance : `[3, n, n]`, by context, b, a
        In the context of each prompt, from that prompt's own clean output, after the final norm.
    top_token : `[n, n]`, by b, a
        The most likely next token in the context of A.
    top_text
        What these tokens say, by token.
    place_c
        The a of C; its b is 1.
    """

    place: Place
    texts: tuple[str, str, str]
    last_tokens: tuple[str, str, str]
    axis: Float[np.ndarray, " n"]
    distance: Float[np.ndarray, "3 n n"]
    top_token: Int[np.ndarray, "n n"]
    top_text: dict[int, str]
    place_c: float

    def shares(self) -> pd.DataFrame:
        """One row a token that is predicted somewhere: `token`, `text`, `share` of the plane."""
        tokens, counts = np.unique(self.top_token, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return pd.DataFrame(
            {
                "token": tokens[order],
                "text": [self.top_text[int(token)] for token in tokens[order]],
                "share": counts[order] / counts.sum(),
            }
        )

    def table(self) -> pd.DataFrame:
        """One row a point: `a`, `b`, `distance_a`, `_b`, `_c`, `top_token`, `top_text`."""
        b, a = (part.ravel() for part in np.meshgrid(self.axis, self.axis, indexing="ij"))
        found = {
            f"distance_{name}": each.ravel()
            for name, each in zip("abc", self.distance, strict=True)
        }
        top = self.top_token.ravel()
        texts = [self.top_text[int(token)] for token in top]
        return pd.DataFrame({"a": a, "b": b, **found, "top_token": top, "top_text": texts})

    def plot(self, path: str | Path | None = None) -> "Picture":
        """The plane in the paper's colours (Figure 1), and the tokens predicted on it."""
        from stable_regions.front import drawing

        return drawing.saved(drawing.draw_plane(self), path)


@dataclass(frozen=True)
class SweepResult:
    """Outputs at points of one's own.

    Attributes
    ----------
    outputs : `[point, width]` by read site
    clean : `[width]` by read site
        Of the prompt as it is.
    top_token, probability : `[point]`
        The most likely next token, and how likely it is.
    top_text
        What this token says, one for each point.
    """

    place: Place
    outputs: dict[str, Float[np.ndarray, "point width"]]
    clean: dict[str, Float[np.ndarray, " width"]]
    top_token: Int[np.ndarray, " point"]
    probability: Float[np.ndarray, " point"]
    top_text: tuple[str, ...]

    @property
    def distance(self) -> Float[np.ndarray, " point"]:
        """Of each output from the clean one, after the final norm."""
        return np.linalg.norm(self.outputs["post_norm"] - self.clean["post_norm"], axis=-1)

    def table(self) -> pd.DataFrame:
        """One row a point: `point`, `distance`, `top_token`, `top_text`, `probability`."""
        return pd.DataFrame(
            {
                "point": np.arange(len(self.top_token)),
                "distance": self.distance,
                "top_token": self.top_token,
                "top_text": self.top_text,
                "probability": self.probability,
            }
        )

    def plot(self, path: str | Path | None = None) -> "Picture":
        """The distance of each output from the clean one, in the points' order."""
        from stable_regions.front import drawing

        return drawing.saved(drawing.draw_sweep(self), path)


@dataclass(frozen=True)
class SharpnessResult:
    """Max slopes of many random pairs.

    Attributes
    ----------
    model, layer, verdict
        As of a `Place`.
    drawn
        How the prompts were.
    pairs
        One row a pair: `prompt_a`, `prompt_b` (texts), `max_slope` (NaN where both ends give one
        output), `distance` (d(1)).
    median, low, high
        The median max slope and its 95 % interval, by a bootstrap of blocks of pairs.
    known
        What others have: one row each with `what`, `median`, `low`, `high`, `pairs`, `source`.
    seconds
        What it took, the model's load not counted.
    """

    model: str
    layer: int
    verdict: str
    drawn: str
    pairs: pd.DataFrame
    median: float
    low: float
    high: float
    known: pd.DataFrame
    seconds: float

    def table(self) -> pd.DataFrame:
        """This model in front of the others."""
        counted = int(self.pairs["max_slope"].notna().sum())
        own = {
            "what": self.model, "median": self.median, "low": self.low, "high": self.high,
            "pairs": counted, "source": "measured now",
        }  # fmt: skip
        return pd.concat([pd.DataFrame([own]), self.known], ignore_index=True)

    def plot(self, path: str | Path | None = None) -> "Picture":
        """The distribution of the max slopes, with the medians that others have."""
        from stable_regions.front import drawing

        return drawing.saved(drawing.draw_sharpness(self), path)
