"""Sweeps that write another position than the last: what comes after it is run anew."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from stable_regions.base.errors import UserError
from stable_regions.models.huggingface import layers_of
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, sweep, sweep_at
from tests.models import D_MODEL, FAMILIES, VOCAB

# softmax and rotary angles are in float32 in a float64 model too; a wrong position gives 1e-1
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
SITES = ("pre_norm", "post_norm", "logits")
BUDGET = 2**30
LAYER = 1


def prompt(seq: int = 9) -> Tensor:
    return torch.randint(0, VOCAB, (seq,), generator=torch.Generator().manual_seed(0))


def points(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, D_MODEL, generator=generator, dtype=torch.float64)


def by_hooks(model: Model, position: int, written: Tensor) -> Tensor:
    """Logits of transformers' own model, one whole pass a point, by a plain hook of torch."""
    hf = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float64).eval()
    layers = layers_of(hf)
    assert layers is not None
    rows = []
    for point in written:

        def write(_: object, __: object, output: Tensor | tuple, point: Tensor = point) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden[:, position] = point

        handle = layers[LAYER].register_forward_hook(write)
        with torch.no_grad():
            rows.append(hf(prompt()[None]).logits[0, -1])
        handle.remove()
    return torch.stack(rows)


@pytest.mark.parametrize("position", [0, 4])
@pytest.mark.parametrize("family", [*FAMILIES, "mamba", "bloom"])
def test_any_position_is_written_as_a_plain_hook_writes_it(
    model_of: Callable[..., Model], family: str, position: int
) -> None:
    model = model_of(family)
    out = sweep_at(model, LAYER, prompt(), position, points(), SITES, budget=BUDGET)
    assert out["post_norm"].shape == out["pre_norm"].shape == (5, D_MODEL)
    expected = by_hooks(model, position, points())
    torch.testing.assert_close(out["logits"], expected, **CLOSE)
    assert not torch.allclose(expected[0], expected[1], rtol=1e-3)


def test_the_last_position_is_what_a_sweep_gives(model_of: Callable[..., Model]) -> None:
    model, written = model_of("llama"), points()
    [(_, swept)] = sweep(
        model, LAYER, prompt()[None], torch.tensor([0]), lambda _: written[None], SITES,
        budget=BUDGET,
    )  # fmt: skip
    out = sweep_at(model, LAYER, prompt(), 8, written, SITES, budget=BUDGET)
    for site in SITES:
        torch.testing.assert_close(out[site], swept[site][0], **CLOSE)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba"])
def test_its_own_activation_changes_nothing(model_of: Callable[..., Model], family: str) -> None:
    model = model_of(family)
    own = clean(model, prompt()[None, :5], [LAYER], budget=BUDGET)[f"resid.{LAYER}"]
    out = sweep_at(model, LAYER, prompt(), 4, own, SITES, budget=BUDGET)
    runs = clean(model, prompt()[None], [], sites=SITES, budget=BUDGET)
    for site in SITES:
        torch.testing.assert_close(out[site], runs[site], **CLOSE)


def test_a_small_budget_gives_the_same(model_of: Callable[..., Model]) -> None:
    model = model_of("llama")
    whole, cut = (
        sweep_at(model, LAYER, prompt(), 3, points(), SITES, budget=budget)
        for budget in (BUDGET, 3 * 2**16)
    )
    for site in SITES:
        torch.testing.assert_close(cut[site], whole[site], **CLOSE)
    with pytest.raises(UserError, match="points at once need 1 MB .* set memory_budget_mb to 1"):
        sweep_at(model, LAYER, prompt(), 3, points(), SITES, budget=10)
