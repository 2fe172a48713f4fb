"""Stable regions in the residual stream of language models.

>>> import stable_regions
>>> model = stable_regions.load()
>>> path = stable_regions.path(model, " The house was very", " The house was in")
>>> path.max_slope, path.table(), path.plot()

`load` takes a name of the hub, a folder, a GGUF file, or a name in `config.yaml`. `path` and
`plane` measure between texts, `sweep` on points of one's own, `sharpness` on many random pairs.
What they give are small objects with `.table()` and `.plot()`. docs/look.md shows each.

The library behind the workflow is in the modules below; it knows nothing of Snakemake, of wildcards
or of where results lie: that is the business of `rules/` and `scripts/`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stable_regions.front.loading import LanguageModel as LanguageModel
    from stable_regions.front.loading import load as load
    from stable_regions.front.measuring import activation as activation
    from stable_regions.front.measuring import path as path
    from stable_regions.front.measuring import plane as plane
    from stable_regions.front.measuring import sharpness as sharpness
    from stable_regions.front.measuring import sweep as sweep
    from stable_regions.measures.paths import max_slope as max_slope

# Where each name is. They are imported when they are used: torch alone takes seconds.
_PLACES = {
    "LanguageModel": "stable_regions.front.loading",
    "activation": "stable_regions.front.measuring",
    "load": "stable_regions.front.loading",
    "max_slope": "stable_regions.measures.paths",
    "path": "stable_regions.front.measuring",
    "plane": "stable_regions.front.measuring",
    "sharpness": "stable_regions.front.measuring",
    "sweep": "stable_regions.front.measuring",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
