"""Check each family of models, and write what was checked into docs/models.md.

    python tools/families.py

Small random models, in float64. A failed check is an error; a model that can't be handled has the
reason that the load check gives. A test fails where the table says something else.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from stable_regions.base.errors import UserError  # noqa: E402
from stable_regions.models.check import check  # noqa: E402
from stable_regions.models.load import load_model  # noqa: E402
from stable_regions.models.model import Model  # noqa: E402
from stable_regions.models.sweep import clean  # noqa: E402
from stable_regions.sources.hub import fetch_model  # noqa: E402
from tests.hub_stand_in import Repository, serve, visited  # noqa: E402
from tests.models import DECODED, FAMILIES, MIXTURES, OTHERS, VOCAB, make_model  # noqa: E402

MODELS = ROOT / "docs" / "models.md"
START, END = "<!-- families -->\n", "<!-- end of families -->"
HEAD = ["family", "engine equality", "gates", "read sites", "checkpoints"]
BUDGET = 10**7
TOLERANCE = 1e-5  # of the engine in float64: the Hub's code takes some of it in float32
ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")
NORMS = (
    "norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f", "embedding_norm", "layer_norm",
)  # fmt: skip


def tokens() -> Tensor:
    return torch.randint(0, VOCAB, (3, 7), generator=torch.Generator().manual_seed(0))


def load(folder: Path) -> Model:
    return load_model(folder, dtype="float64", device="cpu", threads=1)


def same(ours: Tensor, theirs: Tensor, what: str) -> None:
    error = float((ours - theirs).norm() / theirs.norm())
    assert error < TOLERANCE, f"{what}: relative error {error:.1e}"


def engines(model: Model) -> str:
    """Which engines agree with plain patching."""
    agree = []
    for engine in (model, replace(model, fused=None)) if model.fused else (model,):
        for layer in range(model.n_layers - 1):
            verdict = check(engine, tokens(), layer, budget=BUDGET).verdict
            assert verdict == "passed", f"{engine.engine}: {verdict}"
        agree.append(engine.engine)
    return " and ".join(agree)


def hugging_face(folder: Path) -> tuple[nn.Module, dict[str, Tensor], list[Tensor]]:
    """The model without this project's code: what its final norm and its activations see."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, experts_implementation="eager"
    )
    seen: dict[str, Tensor] = {}
    gates: list[Tensor] = []
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in NORMS and ".layers." not in name and ".h." not in name:
            module.register_forward_hook(
                lambda _, given, out: seen.update(pre_norm=given[0][:, -1], post_norm=out[:, -1])
            )
        if type(module).__module__ in ACTIVATIONS or type(module).__name__ == "BloomGelu":
            module.register_forward_pre_hook(lambda _, given: gates.append(given[0]))
    count = model.config.get_text_config().num_hidden_layers
    lists = [each for each in model.modules() if isinstance(each, nn.ModuleList)]
    for index, layer in enumerate(next(each for each in lists if len(each) == count)):

        def keep(_: nn.Module, __: object, out: Any, site: str = f"resid.{index}") -> None:
            seen[site] = (out[0] if isinstance(out, tuple) else out)[:, -1]

        layer.register_forward_hook(keep)
    return model, seen, gates


def read_sites(model: Model, folder: Path) -> tuple[str, str]:
    """Whether a site holds what the Hugging Face model has there; and what the gates are."""
    theirs, seen, gates = hugging_face(folder)
    with torch.no_grad():
        out = theirs(tokens())
    layers = range(model.n_layers)
    gated = [layer for layer in layers if model.gates[layer] is not None]
    sites = ("pre_norm", "post_norm", "logits", *(f"gate.{layer}" for layer in gated))
    ours = clean(model, tokens(), list(layers), sites=sites, budget=BUDGET)
    for site in ("pre_norm", "post_norm"):
        same(ours[site], seen[site], site)
    same(ours["logits"], out.logits[:, -1], "logits")
    for layer in layers[:-1]:
        same(ours[f"resid.{layer}"], seen[f"resid.{layer}"], f"resid.{layer}")
    same(ours[f"resid.{layers[-1]}"], ours["pre_norm"], "the last layer")
    if not gated:
        return "yes", "none"
    if len(gated) < model.n_layers:  # what it has been checked by, `tests/test_decode.py` says
        return "yes", f"in {len(gated)} of {model.n_layers} layers"
    assert len(gates) == model.n_layers, f"{len(gates)} activations in {model.n_layers} layers"
    for layer, gate in enumerate(gates):
        theirs_here = gate.reshape(len(tokens()), -1, gate.shape[-1])[:, -1]
        same(ours[f"gate.{layer}"], theirs_here, f"gate.{layer}")
    return "yes", "gate" if model.gated else "MLP's pre-activation"


def checkpoints(family: str, folder: Path, scratch: Path) -> str:
    """Whether a revision on the hub is fetched by its name, and is another model than `main`."""
    early = make_model(scratch / "early", family, seed=1)
    for place in (folder, early):
        (place / "tokenizer.json").write_text("{}", encoding="utf-8")
    with serve() as hub, visited(hub.url, scratch / "cache"):
        hub.repositories["a/b"] = Repository({"main": folder, "step0-tokens0B": early})
        (scratch / "fetched").mkdir()
        fetch_model("a/b", "step0-tokens0B", scratch / "fetched", private_cache=scratch / "cache")
    runs = [
        clean(load(place), tokens(), [], sites=("logits",), budget=BUDGET)["logits"]
        for place in (scratch / "fetched", early, folder)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])
    return "yes"


def row(family: str) -> str:
    """A family's row of the table; a failed check is an AssertionError."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_model(Path(scratch, "main"), family)
        try:
            model = load(folder)
            agreeing = engines(model)
        except UserError as error:
            return line(family, "refused: " + str(error).removeprefix(f"{folder}: "), *"–––")
        sites, gates = read_sites(model, folder)
        if max(check(model, tokens(), 0, budget=BUDGET).token.values()) > TOLERANCE:
            sites += ", and the token again"
        return line(family, agreeing, gates, sites, checkpoints(family, folder, Path(scratch)))


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def table() -> str:
    """The table of all families, as Markdown."""
    rows = [row(family) for family in (*FAMILIES, *OTHERS, *DECODED, *MIXTURES)]
    return "".join([line(*HEAD), line(*["---"] * len(HEAD)), *rows])


def written() -> str:
    """The table that docs/models.md has."""
    return MODELS.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]


def main() -> None:
    before, _, rest = MODELS.read_text(encoding="utf-8").partition(START)
    text = before + START + table() + END + rest.partition(END)[2]
    MODELS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
