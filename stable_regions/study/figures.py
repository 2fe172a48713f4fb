"""The figures: the modules of `stable_regions.figures` that say which tables they draw.

They are read and not imported, since a start of Snakemake must not wait for matplotlib.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple


class FigureModule(NamedTuple):
    """What a module states about its figure.

    Attributes
    ----------
    title
        What it shows: the first line of the docstring.
    tables
        `TABLES`: what `draw` is given. The first part of a table's name (up to "_") is the
        experiment that it summarises; a study that lacks one does not have the figure.
    section
        `SECTION`: where the report lists it.
    shows
        `SHOWS`: the title in a few words, for the paper's list of figures.
    original
        `ORIGINAL`: the figure of the original paper that it stands for, if any.
    """

    title: str
    tables: tuple[str, ...]
    section: str
    shows: str
    original: str


@cache
def figure_modules(home: Path) -> dict[str, FigureModule]:
    """Every figure by its name, that of its module; `home` is the repository's folder."""
    figures = {}
    for path in sorted((home / "stable_regions" / "figures").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = _constants(tree)
        if "TABLES" in constants:
            title = (ast.get_docstring(tree) or path.stem).splitlines()[0]
            figures[path.stem] = FigureModule(
                title,
                constants["TABLES"],
                constants["SECTION"],
                constants["SHOWS"],
                constants.get("ORIGINAL", "none"),
            )
    return figures


def _constants(tree: ast.Module) -> dict[str, Any]:
    """A module's constants."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("TABLES", "SECTION", "SHOWS", "ORIGINAL")
    }
