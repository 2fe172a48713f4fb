"""A GPU tried on a study's own model, before it is given hours of work."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.base.progress import amount, duration
from stable_regions.experiments.interpolation.measure import output_movement, sweep_paths
from stable_regions.measures.paths import max_slope
from stable_regions.models.check import Check, check
from stable_regions.models.load import load_model
from stable_regions.models.model import Model
from stable_regions.models.shapes import Shape
from stable_regions.models.sweep import clean

SITE = "post_norm"
STEPS, PAIRS = 50, 60  # the paper's steps of a path
# Operations that the processor is asked for in float64: half a minute or so of two cores.
PRECISE = 5e11
SECONDS, MOST_PAIRS = 3.0, 2**14  # of a timing, and the pairs that it may take
# A max slope may differ by so many times what an output may: it is a difference of two outputs
# that lie close, times the number of steps.
SLOPE = 10


@dataclass(frozen=True)
class Speed:
    """Points a second, and the max slopes of the pairs."""

    points: float
    slopes: Float[np.ndarray, " pair"]


@dataclass(frozen=True)
class GpuCheck:
    """What was found.

    Attributes
    ----------
    device, memory
        The device's name and its memory in bytes.
    load
        The load check on it.
    output_error, slope_error
        Largest relative error of an output after the norm, and of a max slope, against float64 on
        the processor; of `precise` pairs.
    own, tf32
        Speed in the model's dtype, and with products of float32 in TF32.
    promised, used
        Bytes of memory that `Shape.peak_memory` says, and the most that torch held.
    """

    device: str
    memory: int
    load: Check
    precise: int
    output_error: float
    slope_error: float
    own: Speed
    tf32: Speed
    promised: int
    used: int

    @property
    def fault(self) -> str | None:
        """What speaks against a start, if anything does."""
        if self.load.verdict != "passed":
            return f"the load check failed: {self.load.verdict}"
        for what, error, allowed in (
            ("an output", self.output_error, self.load.tolerance),
            ("a max slope", self.slope_error, SLOPE * self.load.tolerance),
        ):
            if not error <= allowed:
                return (
                    f"{what} differs by {error:.1e} from float64 on the processor, "
                    f"more than {allowed:.0e}"
                )
        if self.used > self.promised:
            promised = amount(self.promised, "B")
            return f"a job takes {amount(self.used, 'B')} of memory, and {promised} was promised"
        return None


def accelerator(device: str) -> torch.device:
    """The device to try.

    Raises
    ------
    UserError
        `device` is no GPU, or torch sees none.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    if device.startswith("cpu") or found is None:
        build = "" if torch.version.cuda else "; this build of torch is without CUDA"
        raise UserError(
            f"compute.device: {device!r}: torch sees no GPU here{build}"
            if found is None
            else f"compute.device: {device!r} is no GPU; torch sees {found.type!r} here"
        )
    return found if device == "auto" else torch.device(device)


@contextmanager
def tf32() -> Iterator[None]:
    """Products of float32 in TF32 inside of it: 10 bits of the 23 after the point."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def gpu_check(
    folder: Path,
    tokens: Int[Tensor, "prompt seq"],
    shape: Shape,
    *,
    device: torch.device,
    dtype: str,
    layer: int,
    threads: int,
    budget: int,
) -> GpuCheck:
    """Try a device on pairs of prompts of one length.

    Parameters
    ----------
    tokens
        Two prompts or more.
    shape
        Of the model: what it promises is held against what is used.

    Raises
    ------
    UserError
        There are fewer than two prompts, or the model cannot be loaded.
    """
    a, b = pairs_of(len(tokens))
    ours = {"layer": layer, "budget": budget}
    precise = int(PRECISE / (STEPS * shape.operations(layer, logits=False)))
    precise = min(max(precise, 2), len(a))
    model = load_model(folder, dtype="float64", device="cpu", threads=threads)
    reference, expected = outputs(model, tokens, a[:precise], b[:precise], **ours)
    del model
    kind = device.type
    if kind != "cpu":
        torch.accelerator.reset_peak_memory_stats(device)
    model = load_model(folder, dtype=dtype, device=str(device), threads=threads)
    load = check(model, tokens[:4].to(model.device), layer, budget=budget)
    found, slopes = outputs(model, tokens, a[:precise], b[:precise], **ours)
    own = speed(model, tokens, a, b, **ours)
    with tf32():
        fast = speed(model, tokens, a, b, **ours)
    name, memory, used = "the processor", 0, 0
    if kind != "cpu":
        _, memory = torch.accelerator.get_memory_info(device)
        used = torch.accelerator.max_memory_allocated(device)
        name = torch.cuda.get_device_name(device) if kind == "cuda" else kind
    error = np.linalg.norm(found - reference, axis=-1) / np.linalg.norm(reference, axis=-1)
    return GpuCheck(
        device=name,
        memory=memory,
        load=load,
        precise=precise,
        output_error=float(error.max()),
        slope_error=float(np.abs(slopes / expected - 1).max()),
        own=own,
        tf32=fast,
        promised=shape.peak_memory([dtype], budget),
        used=used,
    )


def pairs_of(prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pairs of so many prompts, each with each."""
    if prompts < 2:
        raise UserError(f"a check of a GPU needs 2 prompts of one length or more, not {prompts}")
    pairs = np.array(list(itertools.islice(itertools.combinations(range(prompts), 2), PAIRS)))
    return pairs[:, 0], pairs[:, 1]


def _activations(
    model: Model, tokens: Int[Tensor, "prompt seq"], layer: int, budget: int
) -> Float[Tensor, "prompt d"]:
    runs = clean(model, tokens.to(model.device), [layer], sites=(SITE,), budget=budget)
    return runs[f"resid.{layer}"]


def outputs(
    model: Model,
    tokens: Int[Tensor, "prompt seq"],
    a: Int[np.ndarray, " pair"],
    b: Int[np.ndarray, " pair"],
    *,
    layer: int,
    budget: int,
) -> tuple[Float[np.ndarray, "pair step d"], Float[np.ndarray, " pair"]]:
    """Outputs after the norm along paths, and their max slopes."""
    resid = _activations(model, tokens, layer, budget)
    kept = sweep_paths(
        model, tokens[a].to(model.device), resid[a], resid[b], (SITE, "pre_norm"),
        lambda _, out: {"out": out[SITE].double(), **output_movement(out)},
        layer=layer, steps=STEPS, budget=budget,
    )  # fmt: skip
    return kept["out"], max_slope(kept[f"distance_{SITE}"])


def speed(
    model: Model,
    tokens: Int[Tensor, "prompt seq"],
    a: Int[np.ndarray, " pair"],
    b: Int[np.ndarray, " pair"],
    *,
    layer: int,
    budget: int,
) -> Speed:
    """Time paths, as many as take a while: the pairs again and again, each with its own context."""
    resid = _activations(model, tokens, layer, budget)
    count = len(a)
    while True:
        first, second = np.resize(a, count), np.resize(b, count)
        began = time.perf_counter()
        kept = sweep_paths(
            model, tokens[first].to(model.device), resid[first], resid[second],
            (SITE, "pre_norm"), lambda _, out: output_movement(out),
            layer=layer, steps=STEPS, budget=budget,
        )  # fmt: skip
        seconds = time.perf_counter() - began  # what is kept lies on the processor: nothing waits
        if seconds > SECONDS or count >= MOST_PAIRS:
            slopes = max_slope(kept[f"distance_{SITE}"])[: len(a)]
            return Speed(count * STEPS / seconds, slopes)
        count = min(MOST_PAIRS, count * max(2, int(1.2 * SECONDS / seconds)))


def report(
    found: GpuCheck, shape: Shape, *, model: str, layer: int, operations: int, largest: int
) -> list[str]:
    """Five lines: is the study to be started here?

    Parameters
    ----------
    operations
        Of all that the study runs on models.
    largest
        Bytes of memory that its largest job needs.
    """
    load, fault = found.load, found.fault
    change = np.abs(found.tf32.slopes / found.own.slopes - 1)
    a_point = shape.operations(layer, logits=False)
    seconds = operations / (found.own.points * a_point)
    room = f" of {amount(found.memory, 'B') or 'none'}"
    if fault is None and largest > found.memory:
        fault = f"its largest model needs {amount(largest, 'B')}{room}"
    worst = max(*load.sweep_error.values(), *load.self_patch_error.values())
    verdict = f"not to be started: {fault}" if fault else (
        f"can be started: about {duration(seconds)} of work on models at this speed"
    )  # fmt: skip
    return [
        f"load check   {model} in {load.dtype} on {found.device}: {load.verdict}; sweeps are away "
        f"from plain patching by up to {worst:.1e}, {load.tolerance:.0e} is allowed",
        f"precision    against float64 on the processor outputs differ by up to "
        f"{found.output_error:.1e}, max slopes by up to {found.slope_error:.1e} "
        f"({found.precise} pairs)",
        f"memory       {amount(found.used, 'B') or 'none'} used, {amount(found.promised, 'B')} "
        f"promised; the study's largest job needs {amount(largest, 'B')}{room}",
        f"speed        {found.own.points:,.0f} points a second; {found.tf32.points:,.0f} with "
        f"TF32, which no study uses: it moves the max slope by {np.median(change):.1%} in the "
        f"median and {change.max():.1%} at most ({len(change)} pairs)",
        f"the study    {verdict}",
    ]
