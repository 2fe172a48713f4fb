"""Fixtures that several modules share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stable_regions.model import Model, load_model
from tests.models import make_model


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    """Give a small random model of a family, dtype and engine, made and loaded once a session."""
    folders: dict[str, Path] = {}
    models: dict[tuple[str, ...], Model] = {}

    def give(family: str = "llama", dtype: str = "float64", engine: str = "auto") -> Model:
        if family not in folders:
            folders[family] = make_model(tmp_path_factory.mktemp(family), family)
        key = (family, dtype, engine)
        if key not in models:
            models[key] = load_model(
                folders[family], dtype=dtype, device="cpu", engine=engine, threads=1
            )
        return models[key]

    return give
