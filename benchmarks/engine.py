"""Cost of the same points, the usual ways and ours, side by side in one run.

    python benchmarks/engine.py MODEL_FOLDER [--pairs 4] [--steps 50] [--tokens 10] [--repeats 5]

(a) Hugging Face: one full forward pass of the prompt for each step, with all its logits;
(b) TransformerLens: the same through hooks, all steps of a pair in one batch;
(c) the sweep through the bridge; (d) the sweep through the fused engine, where the model has one.
The ways take turns; the figure of each is the median over the repeats.
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from transformers import AutoModelForCausalLM

from stable_regions.engine import clean, plain, sweep
from stable_regions.interpolation import path_points
from stable_regions.model import load_model
from stable_regions.provenance import machine, versions

LAYER = 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for name, default in (("pairs", 4), ("steps", 50), ("tokens", 10), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget-mb", type=int, default=512)
    given = parser.parse_args()
    budget = given.budget_mb * 2**20
    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_pretrained(given.folder, dtype=torch.float32).eval()
    block = hf.base_model.layers[LAYER]
    models = {
        name: load_model(given.folder, device="cpu", threads=given.threads, engine=name)
        for name in ("bridge", "auto")
    }
    bridge = models["bridge"]
    tokens = torch.randint(bridge.vocab_size, (given.pairs + 1, given.tokens))
    residual = clean(bridge, tokens, [LAYER], budget=budget)[f"resid.{LAYER}"]
    points = path_points(residual[:-1], residual[1:], torch.linspace(0, 1, given.steps))

    @torch.no_grad()
    def one_pass_a_step() -> None:
        for pair in range(given.pairs):
            for point in points[pair]:

                def write(
                    _: object, __: object, out: torch.Tensor, point: torch.Tensor = point
                ) -> torch.Tensor:
                    out[:, -1] = point
                    return out

                handle = block.register_forward_hook(write)
                hf(tokens[pair : pair + 1], output_hidden_states=True)
                handle.remove()

    def hooks() -> None:
        for pair in range(given.pairs):
            plain(bridge, LAYER, tokens[pair], points[pair], ["post_norm"])

    def swept(name: str) -> Callable[[], None]:
        def run() -> None:
            rows = torch.arange(given.pairs)
            sites = ["pre_norm", "post_norm"]
            for _ in sweep(
                models[name], LAYER, tokens[:-1], rows, lambda s: points[s], sites, budget=budget
            ):
                pass

        return run

    ways = {
        "(a) Hugging Face, a pass a step": one_pass_a_step,
        "(b) TransformerLens, hooks": hooks,
        "(c) sweep, bridge": swept("bridge"),
    }
    if models["auto"].engine != "bridge":
        ways[f"(d) sweep, {models['auto'].engine}"] = swept("auto")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(given.repeats + 1):
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first round warms up
                seconds[way].append(time.perf_counter() - start)
    count = given.pairs * given.steps
    print(
        f"{given.folder.name}: {given.pairs} pairs, {given.steps} steps, {given.tokens} tokens, "
        f"{given.threads} threads, median of {given.repeats}"
    )
    print(f"{machine()['processor']}, {platform.system()}, torch {versions(['torch'])['torch']}")
    slowest = median(next(iter(seconds.values())))
    print(f"{'way':34}{'points a second':>16}{'times (a)':>12}")
    for way, taken in seconds.items():
        print(f"{way:34}{count / median(taken):16.1f}{slowest / median(taken):12.1f}")


if __name__ == "__main__":
    main()
