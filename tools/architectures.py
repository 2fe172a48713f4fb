"""Try every architecture that TransformerLens knows, and write docs/architectures.md.

    python tools/architectures.py           # all of them: some four minutes
    python tools/architectures.py NAME ...  # these rows again; the others stay as they are

Tiny random models, in float64. Each is tried in a process of its own, with a limit on its time and
memory, and the table is written after each: what was stopped goes on with the names that it lacks.
"""

import json
import multiprocessing
import resource
import signal
import sys
import tempfile
from collections import Counter
from importlib.metadata import version
from importlib.resources import files
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from stable_regions.base.errors import UserError, first_line  # noqa: E402
from stable_regions.models import huggingface  # noqa: E402
from stable_regions.models.check import check  # noqa: E402
from stable_regions.models.load import load_model  # noqa: E402
from stable_regions.models.model import Model  # noqa: E402
from stable_regions.models.sweep import clean, full_forward, sweep  # noqa: E402
from tests.architectures import make_architecture  # noqa: E402
from tests.models import MAX_TOKENS, VOCAB  # noqa: E402

PAGE = ROOT / "docs" / "architectures.md"
HEAD = ["architecture", "models", "engine", "agreement", "gates", "read sites"]
BUDGET, TOLERANCE = 10**9, 1e-5
SECONDS, BYTES = 300, 12 * 2**30
# Names that the hub has for what transformers has under another, or of a model without its head.
OTHER_NAMES = {
    "BloomModel": "BloomModel",
    "MPTForCausalLM": "MptForCausalLM",
    "PhiMoEForCausalLM": "PhimoeForCausalLM",
}
# What cannot be made here, its image tower asking for another library: the part that reads text.
TEXT_PART = {"Gemma3nForConditionalGeneration": "Gemma3nForCausalLM"}
# Code that takes float32 for a part whatever the model's dtype, and stumbles over float64.
SINGLE = ("XGLMForCausalLM",)

TEXT = """# Architectures

What becomes of each of the {architectures} architectures in the registry of TransformerLens {lens},
with transformers {hf}. `python tools/architectures.py` made this page, on tiny random models. It is
made again for each release of the two: a test fails where the registry names others.

Of the {models:,} models that the registry lists of these decoders, {right:,} ({part}) are of an
architecture that is measured right.

- *models*: how many the registry lists.
- *engine*: what sweeps run on. What TransformerLens cannot hook or would change, or where its
  sweeps differ from plain patching, decodes: slower, and as exact.
- *agreement*: "yes" where sweeps equal plain patching to a relative {tolerance} at each write
  layer, with few points and with more than the model has positions.
- *gates*: whether the pre-activations of MLPs can be read. A mixture of experts has none.
- *read sites*: "yes" where logits and the residual stream after each layer are what transformers
  gives there. Where later layers read the token again, the output is no function of the residual
  stream alone.

{table}
Not in the table:

{others}"""
OTHERS = {
    "code": "need code of their own, which is never run",
    "encoder": "encoder-decoders",
    "none": "no decoders of text",
}


def registry() -> Counter[str]:
    """How many models TransformerLens lists of each architecture."""
    data = files("transformer_lens.tools.model_registry") / "data" / "supported_models.json"
    listed = json.loads(data.read_text(encoding="utf-8"))["models"]
    return Counter(model["architecture_id"] for model in listed)


def kind(name: str) -> str:
    """Whether an architecture is a decoder of text, or which of `OTHERS` it is."""
    cls: Any = getattr(transformers, OTHER_NAMES.get(name, name), None)
    if cls is None:
        return "code"
    config = cls.config_class
    if config.is_encoder_decoder:
        return "encoder"
    decodes = name in OTHER_NAMES or name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return "decoder" if decodes or "text_config" in config.sub_configs else "none"


def tokens(n: int = 3) -> Tensor:
    return torch.randint(3, VOCAB, (n, 7), generator=torch.Generator().manual_seed(0))


def error(ours: Tensor, theirs: Tensor) -> float:
    return float(((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max())


def agreement(model: Model) -> str:
    """Whether sweeps equal plain patching, with few points and with many."""
    for layer in range(model.n_layers - 1):
        verdict = check(model, tokens(), layer, budget=BUDGET).verdict
        if verdict != "passed":
            return f"no: {verdict}"
    points = torch.randn(
        1, MAX_TOKENS + 9, model.d_model, generator=torch.Generator().manual_seed(0)
    )
    points, site = points.to(model.dtype), ("pre_norm",)
    rows = torch.tensor([0])
    [(_, ours)] = sweep(model, 0, tokens(1), rows, points.__getitem__, site, budget=BUDGET)
    theirs = full_forward(model, 0, tokens(1)[0], points[0], site)
    differs = error(ours["pre_norm"][0], theirs["pre_norm"])
    if differs > tolerance(model):
        return f"no: {len(points[0])} points differ"
    return "yes" if model.dtype == torch.float64 else "yes, in float32"


def tolerance(model: Model) -> float:
    return TOLERANCE if model.dtype == torch.float64 else 1e-4


@torch.no_grad()
def read_sites(model: Model, folder: Path) -> str:
    """Whether sites hold what transformers gives there, and whether the token is read again."""
    theirs = huggingface.load(folder, dtype=model.dtype)
    held: dict[str, Tensor] = {}
    for number, layer in enumerate(huggingface.layers_of(theirs) or ()):

        def keep(_: Any, __: Any, out: Any, site: str = f"resid.{number}") -> None:
            held[site] = out[0] if isinstance(out, tuple) else out

        layer.register_forward_hook(keep)
    held["logits"] = theirs(tokens()).logits
    layers = list(range(model.n_layers))
    ours = clean(model, tokens(), layers, sites=("logits",), budget=BUDGET)
    for site in ours:
        if error(ours[site], held[site][:, -1]) > tolerance(model):
            return f"no: {site} differs"
    again = max(check(model, tokens(), 0, budget=BUDGET).token.values())
    return "yes, and the token again" if again > tolerance(model) else "yes"


def cells(name: str) -> list[str]:
    """What is found of an architecture: engine, agreement, gates, read sites."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_architecture(Path(scratch), TEXT_PART.get(name, OTHER_NAMES.get(name, name)))
        dtype = "float32" if name in SINGLE else "float64"
        try:
            model = load_model(folder, dtype=dtype, device="cpu", threads=1)
            agrees = agreement(model)
        except UserError as refusal:
            return ["refused: " + str(refusal).removeprefix(f"{folder}: "), *"–––"]
        having = sum(gate is not None for gate in model.gates)
        gates = "no" if not having else "yes" if having == model.n_layers else "in some layers"
        return [model.engine, agrees, gates, read_sites(model, folder)]


def tried(name: str) -> list[str]:
    """The same from a process of its own, whatever becomes of that."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_try, args=(name, there))
    child.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        child.join()
        found = [f"not tried: ended with {child.exitcode}", *"–––"]
    child.join()
    return found


def _try(name: str, there: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.alarm(SECONDS)
    try:
        found = cells(name)
    except Exception as wrong:  # whatever the code of an architecture stumbles on
        found = [f"not tried: {first_line(wrong)}", *"–––"]
    there.send(found)


def written() -> dict[str, list[str]]:
    """What the page says of each architecture of its table."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name: found for name, _, *found in rows if name not in ("---", HEAD[0])}


def page(rows: dict[str, list[str]]) -> str:
    """The whole page, of what is found of each decoder."""
    counts = registry()
    names = sorted(rows, key=lambda name: (-counts[name], name))
    table = [HEAD, ["---"] * len(HEAD)]
    table += [[name, str(counts[name]), *rows[name]] for name in names]
    models = sum(counts[name] for name in rows)
    right = sum(counts[name] for name in rows if is_right(rows[name]))
    others = [
        f"- {what}: {', '.join(sorted(name for name in counts if kind(name) == key))}.\n"
        for key, what in OTHERS.items()
    ]
    return TEXT.format(
        architectures=len(counts),
        lens=version("transformer-lens"),
        hf=transformers.__version__,
        models=models,
        right=right,
        part=f"{right / models:.1%}",
        tolerance=f"{TOLERANCE:.0e}",
        table="".join(f"| {' | '.join(row)} |\n" for row in table),
        others="".join(others),
    )


def is_right(found: list[str]) -> bool:
    """Whether an architecture is measured right."""
    return found[1].startswith("yes") and found[3].startswith("yes")


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    decoders = [name for name in registry() if kind(name) == "decoder"]
    rows = {name: found for name, found in written().items() if name in decoders}
    for name in sys.argv[1:] or decoders:
        rows[name] = tried(name)
        print(name, *rows[name], sep=" | ", flush=True)
        PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
