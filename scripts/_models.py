"""How a measuring job loads its models: engine, device and dtype."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stable_regions.base.files import read_object, read_safetensors
from stable_regions.models.check import check_again
from stable_regions.models.load import load_model
from stable_regions.models.model import check_layer


def placing(compute: dict[str, Any]) -> dict[str, Any]:
    """Of what a job is told of its computing, that which a model is loaded with."""
    names = ("device", "device_map", "threads", "engine")
    return {key: compute[key] for key in names if key in compute}


def load_again(
    folder: Path, check_record: dict[str, Any], compute: dict[str, Any], dtype: str
) -> Any:
    """Load a model in another dtype; UserError if it is not the one that was checked."""
    model = load_model(folder, dtype=dtype, **placing(compute))
    check_again(model, check_record)
    return model


def models(
    snakemake: Any, engine: str | None = None
) -> Iterator[tuple[str, Any, dict[str, Any], str]]:
    """Load the models of a measuring job one by one, each with its inputs and output.

    Parameters
    ----------
    engine
        In place of the one that passed the trial when the activations were cached.

    Yields
    ------
    The model's name in the study, the model, its activations on the job's prompts, and the path
    that its raw output goes to.

    Raises
    ------
    UserError
        What is loaded is not the model that was checked when its activations were cached.
    """
    params, inputs = snakemake.params, snakemake.input
    for ref, folder, path, check_path, output in zip(
        params.refs, inputs.models, inputs.activations, inputs.checks, snakemake.output, strict=True
    ):
        logging.getLogger("stable_regions").info("%s", ref)
        activations, facts = read_safetensors(path)
        options: dict[str, Any] = {"engine": engine or facts["engine"]} | placing(params.compute)
        model = load_model(Path(folder), dtype=params.dtype, **options)
        check_again(model, read_object(check_path))
        for layer in params.entry["layers"]:
            check_layer(model, layer)
        yield ref, model, activations, output
