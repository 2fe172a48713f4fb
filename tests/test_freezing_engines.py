"""What attention and MLPs give, read and frozen: each engine against plain hooks of torch."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from stable_regions.base.errors import UserError
from stable_regions.measures.conventions import EMBEDDING
from stable_regions.models import fused
from stable_regions.models.check import check
from stable_regions.models.huggingface import layers_of
from stable_regions.models.load import load_model
from stable_regions.models.model import ADDED, Model
from stable_regions.models.sweep import after_prefix, batch_rows, clean, full_forward, sweep
from tests.models import D_MODEL, FAMILIES, MIXTURES, VOCAB, make_model

SITES = ("pre_norm", "post_norm", "logits", "attn_out.2", "mlp_out.2")
BUDGET = 2**24
# softmax and rotary angles are in float32 in a float64 model too
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
ENGINES = [(family, "bridge") for family in (*FAMILIES, *MIXTURES, "cohere", "falcon", "opt")]
ENGINES += [(family, "fused") for family in sorted(fused.FAMILIES)]
ROWS, POINTS = 3, 4
# The modules of a layer whose outputs go into the stream, where they are others than most have.
POST = ("post_attention_layernorm", "post_feedforward_layernorm")
MODULES = {
    "olmo2": POST, "gemma2": POST, "gemma3_text": POST, "gpt_neox": ("attention", "mlp"),
    "gpt2": ("attn", "mlp"), "gptj": ("attn", "mlp"), "falcon": ("self_attention", "mlp"),
    "opt": ("self_attn", "fc2"), "granitemoe": ("self_attn", "block_sparse_moe"),
}  # fmt: skip


def tokens(seq: int = 7) -> Tensor:
    return torch.randint(0, VOCAB, (ROWS, seq), generator=torch.Generator().manual_seed(0))


def drawn(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def frozen_outputs(*sites: str) -> dict[str, Tensor]:
    return {site: drawn(ROWS, D_MODEL, seed=n) for n, site in enumerate(sites, 2)}


def run(
    model: Model,
    layer: int,
    points: Tensor,
    frozen: Mapping[str, Tensor] | None = None,
    sites: tuple[str, ...] = SITES,
    budget: int = BUDGET,
) -> dict[str, Tensor]:
    """All rows of a sweep."""
    parts = sweep(
        model, layer, tokens(), torch.arange(ROWS), points.__getitem__, sites,
        budget=budget, frozen=frozen,
    )  # fmt: skip
    outs = [out for _, out in parts]
    return {site: torch.cat([out[site] for out in outs]) for site in sites}


def loaded(model_of: Callable[..., Model], family: str, engine: str | None) -> Model:
    # transformers multiplies by all experts at once, which torch cannot do in float64
    dtype = "float32" if family in MIXTURES else "float64"
    model = model_of(family, dtype, engine if engine == "bridge" else "auto")
    assert engine in (None, model.engine)
    return model


class Plain:
    """transformers' own model, a whole pass a point, the last position overwritten by hooks."""

    def __init__(self, model: Model) -> None:
        self.hf = AutoModelForCausalLM.from_pretrained(model.folder, dtype=model.dtype).eval()
        layers = layers_of(self.hf)
        assert layers is not None
        self.layers = layers
        self.names = MODULES.get(model.family, ("self_attn", "mlp"))

    def module(self, site: str) -> nn.Module:
        kind, _, layer = site.partition(".")
        name = self.names[kind == "mlp_out"]
        return getattr(self.layers[int(layer)], name)

    def logits(
        self, layer: int, prompt: Tensor, point: Tensor, frozen: Mapping[str, Tensor]
    ) -> Tensor:
        def writer(value: Tensor) -> Callable:
            def write(_: object, __: object, output: Tensor | tuple) -> None:
                hidden = output[0] if isinstance(output, tuple) else output
                hidden.view(1, len(prompt), D_MODEL)[:, -1] = value

            return write

        def write_input(_: object, args: tuple, kwargs: dict) -> None:
            (args[0] if args else kwargs["hidden_states"])[:, -1] = point

        if layer == EMBEDDING:
            first = self.layers[0].register_forward_pre_hook(write_input, with_kwargs=True)
        else:
            first = self.layers[layer].register_forward_hook(writer(point))
        modules = [(self.module(site), value) for site, value in frozen.items()]
        handles = [module.register_forward_hook(writer(value)) for module, value in modules]
        with torch.no_grad():
            out = self.hf(prompt[None]).logits[0, -1]
        for handle in (first, *handles):
            handle.remove()
        return out


@pytest.fixture(scope="module")
def plain_of() -> Callable[[Model], Plain]:
    return cache(Plain)


@pytest.mark.parametrize(
    ("layer", "sites"),
    [(0, ("attn_out.1", "mlp_out.1", "attn_out.2")), (EMBEDDING, ("attn_out.0", "mlp_out.2"))],
)
@pytest.mark.parametrize(("family", "engine"), ENGINES)
def test_frozen_sweeps_are_those_of_plain_hooks(
    model_of: Callable[..., Model],
    plain_of: Callable[[Model], Plain],
    family: str,
    engine: str,
    layer: int,
    sites: tuple[str, ...],
) -> None:
    model, frozen = loaded(model_of, family, engine), frozen_outputs(*sites)
    points = drawn(ROWS, POINTS, D_MODEL)
    out, plain = run(model, layer, points, frozen), plain_of(model)
    for row, prompt in enumerate(tokens()):
        own = {site: value[row] for site, value in frozen.items()}
        expected = torch.stack([plain.logits(layer, prompt, point, own) for point in points[row]])
        torch.testing.assert_close(out["logits"][row], expected, **CLOSE)
        whole = full_forward(model, layer, prompt, points[row], SITES, own)
        for site in SITES:
            torch.testing.assert_close(out[site][row], whole[site], **CLOSE)
    for site in set(sites) & set(SITES):
        assert torch.equal(out[site], frozen[site].to(out[site])[:, None].expand_as(out[site]))


@pytest.mark.parametrize("family", [*FAMILIES, "mamba", "bloom", "mixtral"])
def test_a_sweep_can_start_at_the_embedding(
    model_of: Callable[..., Model], plain_of: Callable[[Model], Plain], family: str
) -> None:
    model, points = loaded(model_of, family, None), drawn(ROWS, POINTS, D_MODEL)
    sites = ("pre_norm", "post_norm", "logits", "resid.0")
    out, plain = run(model, EMBEDDING, points, sites=sites), plain_of(model)
    for row, prompt in enumerate(tokens()):
        expected = torch.stack(
            [plain.logits(EMBEDDING, prompt, point, {}) for point in points[row]]
        )
        torch.testing.assert_close(out["logits"][row], expected, **CLOSE)
    own = clean(model, tokens(), [EMBEDDING], sites=sites, budget=BUDGET)
    out = run(model, EMBEDDING, own[f"resid.{EMBEDDING}"][:, None], sites=sites)
    for site in sites:
        torch.testing.assert_close(out[site][:, 0], own[site], **CLOSE)
    assert check(model, tokens(), EMBEDDING, budget=BUDGET).verdict == "passed"


@pytest.mark.parametrize("engine", ["bridge", "fused"])
def test_nothing_frozen_is_the_plain_sweep(model_of: Callable[..., Model], engine: str) -> None:
    model, points = loaded(model_of, "llama", engine), drawn(ROWS, POINTS, D_MODEL)
    bare, none = run(model, 0, points), run(model, 0, points, {})
    for site in SITES:
        assert torch.equal(bare[site], none[site])


@pytest.mark.parametrize(
    ("family", "engine"), [("llama", "fused"), ("llama", "bridge"), ("phi", "bridge")]
)
def test_all_frozen_moves_the_stream_straight(
    model_of: Callable[..., Model], family: str, engine: str
) -> None:
    model, points = loaded(model_of, family, engine), drawn(ROWS, POINTS, D_MODEL)
    frozen = frozen_outputs(*(f"{kind}.{layer}" for kind in ADDED for layer in (1, 2)))
    out = run(model, 0, points, frozen)["pre_norm"]
    torch.testing.assert_close(
        out, points + torch.stack([*frozen.values()]).sum(0)[:, None], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("engine", ["bridge", "fused"])
def test_what_it_gives_itself_changes_nothing(model_of: Callable[..., Model], engine: str) -> None:
    model, points = loaded(model_of, "llama", engine), drawn(ROWS, POINTS, D_MODEL)
    added = tuple(f"{kind}.{layer}" for kind in ADDED for layer in (1, 2))
    out = run(model, 0, points, sites=(*SITES, *added))
    frozen = {site: out[site][:, 0] for site in added}
    again = run(model, 0, points, frozen)
    for site in SITES:
        torch.testing.assert_close(again[site][:, 0], out[site][:, 0], **CLOSE)
        if site in ("pre_norm", "post_norm", "logits"):
            assert not torch.allclose(again[site][:, 1], out[site][:, 1], rtol=1e-2)


@pytest.mark.parametrize("engine", ["bridge", "fused"])
def test_small_batches_give_each_row_its_own(model_of: Callable[..., Model], engine: str) -> None:
    model, points = loaded(model_of, "llama", engine), drawn(ROWS, POINTS, D_MODEL)
    frozen = frozen_outputs("attn_out.1", "mlp_out.2")
    row = BUDGET // batch_rows(model, k=POINTS, seq=7, sites=SITES, budget=BUDGET)
    out, single = run(model, 0, points, frozen), run(model, 0, points, frozen, budget=row + 99)
    for site in SITES:
        torch.testing.assert_close(single[site], out[site], **CLOSE)


@pytest.mark.parametrize("engine", ["bridge", "fused"])
def test_a_gate_is_read_though_its_mlp_is_frozen(
    model_of: Callable[..., Model], engine: str
) -> None:
    model, points = loaded(model_of, "llama", engine), drawn(ROWS, POINTS, D_MODEL)
    frozen = frozen_outputs("attn_out.1", "mlp_out.1")
    out = run(model, 0, points, frozen, sites=("gate.1", "gate.2"))
    for row, prompt in enumerate(tokens()):
        own = {site: value[row] for site, value in frozen.items()}
        whole = full_forward(model, 0, prompt, points[row], ("gate.1", "gate.2"), own)
        for site in whole:
            torch.testing.assert_close(out[site][row], whole[site], **CLOSE)


def test_a_frozen_module_is_not_computed(
    model_of: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, points = loaded(model_of, "llama", "fused"), drawn(ROWS, POINTS, D_MODEL)

    def refuse(*_: object) -> None:
        raise AssertionError("it is computed")

    run_points = after_prefix(model, tokens())
    monkeypatch.setattr(fused, "_attend", refuse)
    monkeypatch.setattr(fused, "_mlp", refuse)
    frozen = frozen_outputs(*(f"{kind}.{layer}" for kind in ADDED for layer in (1, 2)))
    run_points(0, torch.arange(ROWS), points, ("logits",), frozen)


def test_frozen_outputs_are_scaled_as_they_are_on_their_way(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "granite", residual_multiplier=0.22)
    model = load_model(folder, dtype="float64", device="cpu", threads=1)
    points = drawn(ROWS, POINTS, D_MODEL)
    frozen = frozen_outputs(*(f"{kind}.{layer}" for kind in ADDED for layer in (1, 2)))
    out = run(model, 0, points, frozen)["pre_norm"]
    torch.testing.assert_close(
        out, points + torch.stack([*frozen.values()]).sum(0)[:, None], **CLOSE
    )


def test_a_layer_that_adds_something_else_cannot_be_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward: Any = GPT2Block.forward
    monkeypatch.setattr(GPT2Block, "forward", lambda *args, **given: 1.2 * forward(*args, **given))
    model = load_model(make_model(tmp_path, "gpt2"), device="cpu", threads=1)
    with pytest.raises(UserError, match="what a layer of model type 'gpt2' adds"):
        run(model, 0, drawn(ROWS, POINTS, D_MODEL), frozen_outputs("mlp_out.1"), ("logits",))


@pytest.mark.parametrize(
    ("layer", "site", "message"),
    [
        (0, "mlp_out.0", "site 'mlp_out.0' is not after the write layer 0"),
        (EMBEDDING, "mlp_out.3", "layer 3 is not in 0..2"),
        (0, "resid.1", "site 'resid.1' cannot be frozen; attn_out.N and mlp_out.N can"),
        (0, "mlp_out.-1", "site 'mlp_out.-1' is unknown"),
    ],
)
def test_what_cannot_be_frozen_is_named(
    model_of: Callable[..., Model], layer: int, site: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        run(model_of(), layer, drawn(ROWS, POINTS, D_MODEL), frozen_outputs(site))
    assert "\n" not in str(error.value)


def test_an_engine_that_decodes_says_that_it_cannot_freeze(model_of: Callable[..., Model]) -> None:
    with pytest.raises(
        UserError, match="on the engine 'decode', what a layer of model type 'mamba'"
    ):
        run(
            model_of("mamba"),
            0,
            drawn(ROWS, POINTS, D_MODEL),
            frozen_outputs("mlp_out.1"),
            ("logits",),
        )
