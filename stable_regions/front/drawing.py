"""Pictures of results, in the house style, without touching a notebook's own settings."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stable_regions.figures import planes, style
from stable_regions.front.results import (
    PathResult,
    PlaneResult,
    SharpnessResult,
    SweepResult,
)

DPI = 200
NAMED = 8  # tokens of a path that have room for their names
CURVE, SECOND = style.COLOURS[0], style.COLOURS[1]


class Picture(Figure):
    """A figure that a notebook shows by itself, whichever backend it has."""

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        self.savefig(written, format="png", dpi=DPI / 2)
        return written.getvalue()


def saved(picture: Picture, path: str | Path | None) -> Picture:
    """The picture, written to a path if one is given."""
    if path is not None:
        picture.savefig(path, dpi=DPI)
    return picture


def svg(picture: Picture) -> str:
    """The picture as SVG that can stand in a page; letters are drawn, so it needs no font."""
    written = BytesIO()
    picture.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue().decode()
    return text[text.index("<svg") :]


def _picture(width: float, height: float) -> Picture:
    return Picture(figsize=(width, height), layout="constrained")


def _styled() -> None:
    sns.set_theme(**style.THEME)


def draw_paths(results: Sequence[PathResult]) -> Picture:
    """Relative distances along paths; of one path also its boundaries and predictions."""
    with mpl.rc_context():
        _styled()
        one = len(results) == 1
        picture = _picture(style.FULL * 0.75, 3.1 if one else 2.8)
        grid = picture.add_gridspec(2, 1, height_ratios=[6, 1]) if one else picture.add_gridspec()
        axes = picture.add_subplot(grid[0])
        for index, result in enumerate(results):
            colour, dash, _ = style.look(index)
            end = style.plain(repr("".join(result.other_tokens[-1:])))
            label = f"{end}: {result.max_slope:.3g}"
            axes.plot(result.alpha, result.relative, color=colour, ls=dash, label=label)
        axes.plot([0, 1], [0, 1], color="0.6", lw=0.8, ls=":")
        axes.set(xlim=(0, 1), ylabel=style.DISTANCE_LABEL)
        if not one:
            axes.set(xlabel=style.ALPHA_LABEL)
            axes.legend(title="to: max slope", title_fontsize=7, loc="upper left")
            return picture
        [result] = results
        for number, (low, high) in enumerate(result.boundaries):
            axes.axvspan(
                low, high, color=SECOND, alpha=0.2, lw=0, label="boundary" if not number else None
            )
        if result.boundaries:
            axes.legend(handles=axes.patches[:1], loc="upper left")
        axes.set_title(
            f"max slope {result.max_slope:.3g},  d(1) = {result.end_distance:.3g}", loc="left"
        )
        axes.tick_params(labelbottom=False)
        _draw_predictions(picture.add_subplot(grid[1], sharex=axes), result)
        return picture


def _draw_predictions(axes: Axes, result: PathResult) -> None:
    """A band below a path: which token is predicted where."""
    runs = result.predictions
    half = (result.alpha[1] - result.alpha[0]) / 2
    shades = ["0.85", "0.7"]
    widest = sorted(runs, key=lambda run: run.first - run.last)[:NAMED]
    for number, run in enumerate(runs):
        left, right = max(run.first - half, 0), min(run.last + half, 1)
        axes.axvspan(left, right, color=shades[number % 2], lw=0)
        if run in widest and right - left > 0.012 * (len(run.text) + 2):
            axes.text(
                (left + right) / 2, 0.5, style.plain(repr(run.text)), ha="center", va="center",
                fontsize=7,
            )  # fmt: skip
    axes.set(xlabel=style.ALPHA_LABEL, ylim=(0, 1), yticks=[])
    axes.set_ylabel("predicts", rotation=0, ha="right", va="center")
    axes.spines[:].set_visible(False)


def draw_plane(result: PlaneResult) -> Picture:
    """Output distances as red, green and blue, and the tokens predicted."""
    with mpl.rc_context():
        _styled()
        picture = _picture(style.FULL, 3.4)
        left, right = picture.subplots(1, 2)
        axis = result.axis
        half = (axis[1] - axis[0]) / 2
        extent = (axis[0] - half, axis[-1] + half, axis[0] - half, axis[-1] + half)
        image = planes.colours(result.distance, planes.own_scale(result.distance))
        left.imshow(image, origin="lower", extent=extent, interpolation="nearest")
        left.set_title("output as at A (red), B (green), C (blue)", loc="left")
        shares = result.shares()
        codes = {int(token): code for code, token in enumerate(shares["token"])}
        shown = np.vectorize(codes.__getitem__)(result.top_token)
        pale = mpl.colors.ListedColormap(
            [(*mpl.colors.to_rgb(c), 0.55) for c in (*style.COLOURS[:-1], "0.6")]
        )
        right.imshow(
            np.minimum(shown, len(style.COLOURS) - 1), origin="lower", extent=extent, cmap=pale,
            vmin=0, vmax=len(style.COLOURS) - 1, interpolation="nearest",
        )  # fmt: skip
        named = shares.iloc[: len(style.COLOURS) - 1]
        for code, (text, share) in enumerate(zip(named["text"], named["share"], strict=True)):
            right.plot(
                [], [], "s", color=pale(code), label=f"{style.plain(repr(text))} {share:.0%}"
            )
        if len(shares) > len(named):
            right.plot([], [], "s", color=pale(len(style.COLOURS) - 1), label="others")
        right.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        right.set_title("most likely next token, after A", loc="left")
        places = zip("ABC", ((0.0, 0.0), (1.0, 0.0), (result.place_c, 1.0)), strict=True)
        for letter, place in places:
            for axes in (left, right):
                axes.plot(*place, "o", color="black", ms=3, mec="white", mew=0.6)
                axes.annotate(
                    letter, place, (0, 2), textcoords="offset points", ha="center", va="bottom",
                    fontweight="bold", path_effects=planes.HALO, annotation_clip=True,
                )  # fmt: skip
        for axes in (left, right):
            axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="a", ylabel="b")
        return picture


def draw_sweep(result: SweepResult) -> Picture:
    """The distance of each output from the clean one."""
    with mpl.rc_context():
        _styled()
        picture = _picture(style.FULL * 0.75, 2.6)
        axes = picture.subplots()
        axes.plot(result.distance, color=CURVE, marker=".", ms=4)
        axes.set(xlabel="point", ylabel="distance of the output", ylim=(0, None))
        return picture


def draw_sharpness(result: SharpnessResult) -> Picture:
    """The distribution of max slopes, and medians of others."""
    with mpl.rc_context():
        _styled()
        picture = _picture(style.FULL, 2.8)
        left, right = picture.subplots(1, 2)
        slopes = result.pairs["max_slope"].dropna()
        left.hist(slopes, bins=25, color=CURVE, alpha=0.8)
        left.axvspan(result.low, result.high, color=SECOND, alpha=0.35, lw=0)
        left.axvline(result.median, color=SECOND)
        left.set(xlabel="max slope", ylabel="pairs")
        left.set_title(f"median {result.median:.3g} of {len(slopes)} random pairs", loc="left")
        table = result.table().iloc[::-1].reset_index(drop=True)
        for row, (median, low, high) in enumerate(
            zip(table["median"], table["low"], table["high"], strict=True)
        ):
            colour = SECOND if row == len(table) - 1 else "0.35"
            right.plot([low, high], [row, row], color=colour)
            right.plot(median, row, "o", color=colour, ms=4)
        names = [*table["what"][:-1], f"{result.model} (now)"]
        right.set_yticks(range(len(table)), map(style.plain, names))
        right.axvline(1, color="0.6", lw=0.8, ls=":")
        right.set(xlabel="median max slope", xlim=(0, None))
        return picture
