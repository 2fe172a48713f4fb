"""What every script does around its work: log to its file and the screen, fail in one line."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# To hand over the object `snakemake`, Snakemake adds its own path to that of another interpreter.
# What a conda environment lacks must not come from there, nor from the user's own packages.
if Path(sys.prefix, "conda-meta").is_dir():
    sys.path[:] = [path for path in sys.path if Path(path).is_relative_to(sys.prefix)]
# The library is used from the checkout, in whatever environment a script runs.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Progress is one line every few seconds, ours; the libraries' bars would bury it.
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def placing(compute: dict[str, Any]) -> dict[str, Any]:
    """Of what a job is told of its computing, that which a model is loaded with."""
    return {key: compute[key] for key in ("device", "device_map", "threads")}


def models(snakemake: Any) -> Iterator[tuple[str, Any, dict[str, Any], str]]:
    """Load the models of a measuring job one by one, and give what belongs to each.

    Yields
    ------
    The model's name in the study, the model, its activations on the job's prompts, and the path
    that its raw output goes to.
    """
    from stable_regions.files import read_safetensors
    from stable_regions.model import check_layer, load_model

    params, given = snakemake.params, snakemake.input
    for ref, folder, path, output in zip(
        params.refs, given.models, given.activations, snakemake.output, strict=True
    ):
        logging.getLogger("stable_regions").info("%s", ref)
        model = load_model(Path(folder), dtype=params.dtype, **placing(params.compute))
        for layer in params.entry["layers"]:
            check_layer(model, layer)
        yield ref, model, read_safetensors(path)[0], output


@contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Run a script's work: progress goes to the log file and the screen, errors are one line.

    What was done is recorded beside the log. The traceback of an error that is not the user's
    mistake is in the log file alone.
    """
    from stable_regions.errors import UserError  # after the path is set
    from stable_regions.privacy import discreet
    from stable_regions.records import now, write_record

    class Discreet(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return discreet(super().format(record))

    started = now()
    path = Path(str(snakemake.log[0]))
    log = logging.getLogger("stable_regions")
    log.setLevel(logging.INFO)
    log.propagate = False
    to_file = logging.FileHandler(path, mode="w")
    to_file.setFormatter(Discreet("%(asctime)s %(message)s", "%H:%M:%S"))
    to_screen = logging.StreamHandler()
    to_screen.setFormatter(logging.Formatter(f"[{snakemake.rule}] %(message)s"))
    log.addHandler(to_file)
    log.addHandler(to_screen)
    try:
        yield log
        if snakemake.output:
            write_record(snakemake, Path(sys.modules["__main__"].__file__ or ""), started)
    except UserError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except Exception as error:
        to_file.stream.write(discreet(traceback.format_exc()))
        log.error("error: %s: %s (traceback in %s)", type(error).__name__, error, path)
        sys.exit(1)
