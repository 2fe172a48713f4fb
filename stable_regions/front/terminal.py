"""Results as lines of text: facts, curves of dots, a map of the tokens predicted on a plane."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from stable_regions.front.results import PathResult, Place, PlaneResult, SharpnessResult
from stable_regions.measures.conventions import EMBEDDING, HIGH, LOW

WIDTH, HEIGHT = 60, 12  # characters of a curve
MAP = 41  # of a plane's map, across; a character is twice as high as it is wide
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character
SHOWN = 8  # predictions in a line, tokens below a map
Facts = list[tuple[str, str]]


def _after(layer: int) -> str:
    return "before the first layer" if layer == EMBEDDING else f"after layer {layer}"


def facts_of_place(place: Place) -> Facts:
    """The prompt, and what is written and read of it."""
    written = f"{_after(place.layer)}, at position {place.position}"
    if place.is_last:
        where = f"{written}, the last of {len(place.tokens)} tokens"
    else:
        after = len(place.tokens) - 1 - place.position
        where = (
            f"{written} of {len(place.tokens)} tokens, on {place.tokens[place.position]!r}; the "
            f"{after} after it are run anew for each point, since they see it"
        )
    return [
        ("load check", place.verdict),
        ("written", where),
        ("read", "at the last position, after the final norm; distances are L2"),
    ]


def facts_of_path(result: PathResult) -> Facts:
    """What is said of one path."""
    facts = [("prompt A", _prompt(result.place.text, result.place.tokens))]
    if result.other_tokens:
        facts.append(("prompt B", _prompt(result.other, result.other_tokens)))
        end = "B"
    else:
        facts.append(("direction", result.other))
        end = "A + direction"
    count = str(len(result.boundaries))
    if result.boundaries:
        stretches = ", ".join(f"{low:.2f} to {high:.2f}" for low, high in result.boundaries)
        count += f", at alpha {stretches}"
    return [
        *facts,
        *facts_of_place(result.place),
        (
            "path",
            f"{result.input_distance:.3g} long, from A to {end}; |A| = {result.input_norm:.3g}",
        ),
        ("d(1)", f"{result.end_distance:.4g}"),
        ("max slope", f"{_slope(result.max_slope)} (a straight line has 1)"),
        ("boundaries", count),
        ("predicts", _predictions(result)),
    ]


def facts_of_paths(results: Sequence[PathResult]) -> Facts:
    """What is said of paths from one prompt to several."""
    place = results[0].place
    return [("prompt A", _prompt(place.text, place.tokens)), *facts_of_place(place)]


def table_of_paths(results: Sequence[PathResult]) -> list[str]:
    """One line a path: the last tokens, d(1), max slope, boundaries, predictions at both ends."""
    head = ("to a prompt that ends in", "d(1)", "max slope", "boundaries", "predicts")
    rows = [
        (
            "".join(result.other_tokens[-3:]).join("''").replace("\n", "\\n"),
            f"{result.end_distance:.3g}",
            _slope(result.max_slope),
            str(len(result.boundaries)),
            f"{result.top_text[0]!r} to {result.top_text[-1]!r}",
        )
        for result in results
    ]
    return columns([head, *rows])


def facts_of_plane(result: PlaneResult) -> Facts:
    """What is said of a plane."""
    prompts = [
        (f"prompt {letter}", f"{text!r}, ends in {token!r}")
        for letter, text, token in zip("ABC", result.texts, result.last_tokens, strict=True)
    ]
    count, size = len(result.shares()), len(result.axis)
    return [
        *prompts,
        *facts_of_place(result.place),
        (
            "plane",
            f"{size} x {size} points in the context of each prompt, {count} tokens predicted",
        ),
    ]


def facts_of_sharpness(result: SharpnessResult) -> Facts:
    """What is said of a model's sharpness."""
    slopes = result.pairs["max_slope"].dropna()
    shares = (
        f"{(slopes < LOW).mean():.0%} below {LOW:g}, {(slopes > HIGH).mean():.0%} above {HIGH:g}"
    )
    return [
        ("load check", result.verdict),
        ("prompts", f"{result.drawn}; pair i is (prompt i, prompt i + 1)"),
        ("written", f"{_after(result.layer)}, at the last position; read after the final norm"),
        ("max slope", f"median {result.median:.3g}, 95 % interval {result.low:.3g} to "
         f"{result.high:.3g}, {len(slopes)} pairs; {shares}"),
        ("the paper", f"takes a pair below {LOW:g} to cross no boundary, and looks at those above "
         f"{HIGH:g} (appendix G, Qwen2-0.5B); medians by model are points of Figures 3c and 4c"),
    ]  # fmt: skip


def table_of_sharpness(result: SharpnessResult) -> list[str]:
    """This model and others: one line each."""
    head = ("model", "median max slope", "95 % interval", "pairs", "source")
    rows = [
        (what, f"{median:.3g}", f"{low:.3g} to {high:.3g}", f"{pairs:,}", source)
        for what, median, low, high, pairs, source in result.table().to_numpy()
    ]
    return columns([head, *rows])


def lines(facts: Facts) -> list[str]:
    """Facts, the names in a column of their own."""
    return [f"{name:<12}{value}" for name, value in facts]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines, each column as wide as it must be."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def curve(results: Sequence[PathResult], braille: bool = True) -> list[str]:
    """Relative distances along paths, as dots.

    Parameters
    ----------
    braille
        Eight dots a character, or else one star.
    """
    values = [result.relative for result in results if np.isfinite(result.relative).all()]
    if not values:
        return ["(both ends give one output: no relative distance)"]
    top = max(1.0, *(float(each.max()) for each in values))
    fine = (4, 2) if braille else (1, 1)
    dots = np.zeros((HEIGHT * fine[0], WIDTH * fine[1]), dtype=bool)
    for each in values:
        _trace(dots, each / top)
    rows = (
        _braille(dots) if braille else ["".join("*" if dot else " " for dot in row) for row in dots]
    )
    label = {0: f"{top:.3g}", HEIGHT - 1: "0"}
    bar = "│" if braille else "|"
    drawn = [f"{label.get(n, ''):>6} {bar}{row.rstrip()}" for n, row in enumerate(rows)]
    foot = f"{'':>6} {'└' if braille else '+'}{('─' if braille else '-') * WIDTH}"
    return [*drawn, foot, f"{'alpha':>6}  0{'0.5':^{WIDTH - 2}}1"]


def plane_map(result: PlaneResult) -> list[str]:
    """A letter for the token predicted at each point; A, B and C are its corners."""
    shares = result.shares()
    letters = dict(zip(shares["token"], "abcdefghijklmnopqrstuvwxyz"[:SHOWN], strict=False))
    size = len(result.axis)
    across = np.linspace(0, size - 1, min(size, MAP)).round().astype(int)
    down = np.linspace(size - 1, 0, -(-len(across) // 2)).round().astype(int)
    grid = [[letters.get(int(result.top_token[b, a]), ".") for a in across] for b in down]
    for letter, x, y in (("A", 0.0, 0.0), ("B", 1.0, 0.0), ("C", result.place_c, 1.0)):
        row = int(np.abs(result.axis[down] - y).argmin())
        column = int(np.abs(result.axis[across] - x).argmin())
        grid[row][column] = letter
    key = [
        f"{letter}  {share:4.0%}  {text!r}"
        for letter, share, text in zip("abcdefgh", shares["share"], shares["text"], strict=False)
    ]
    if len(shares) > SHOWN:
        key.append(f".  {shares['share'][SHOWN:].sum():4.0%}  others")
    return [
        *(f"  {''.join(row)}" for row in grid),
        "",
        "most likely next token, in the context of A:",
        *key,
    ]


def _trace(dots: np.ndarray, curve: Float[np.ndarray, " step"]) -> None:
    """Set the dots that a curve from 0 to 1 passes, without gaps where it is steep."""
    height, width = dots.shape
    x = np.linspace(0, 1, 8 * width)
    y = np.interp(x, np.linspace(0, 1, len(curve)), curve)
    rows = ((1 - y) * (height - 1)).round().astype(int).clip(0, height - 1)
    columns = (x * (width - 1)).round().astype(int)
    dots[rows, columns] = True
    for column in range(1, width):
        before, here = rows[columns == column - 1][-1], rows[columns == column][0]
        dots[min(before, here) : max(before, here) + 1, column] = True


def _braille(dots: np.ndarray) -> list[str]:
    weights = np.array(DOTS)
    blocks = dots.reshape(HEIGHT, 4, WIDTH, 2).transpose(0, 2, 1, 3)
    codes = 0x2800 + (blocks * weights).sum((2, 3))
    return ["".join(map(chr, row)).replace("\u2800", " ") for row in codes]


def _prompt(text: str, tokens: Sequence[str]) -> str:
    return f"{text!r}, {len(tokens)} tokens, the last {tokens[-1]!r}"


def _slope(value: float) -> str:
    return "none: both ends give one output" if np.isnan(value) else f"{value:.3g}"


def _predictions(result: PathResult) -> str:
    runs = result.predictions
    said = [f"{run.text!r} ({run.first:.2f} to {run.last:.2f})" for run in runs[:SHOWN]]
    return ", ".join(said) + (f", and {len(runs) - SHOWN} more" if len(runs) > SHOWN else "")
