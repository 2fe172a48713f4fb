"""Models that neither engine can run: their sweeps decode, and equal plain patching."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from stable_regions.base.errors import UserError
from stable_regions.models import native
from stable_regions.models.check import check
from stable_regions.models.load import load_model
from stable_regions.models.model import Model
from stable_regions.models.sweep import clean, full_forward, rows_that_fit, sweep
from tests.architectures import make_architecture
from tests.models import D_MLP, D_MODEL, DECODED, VOCAB, make_model

BUDGET = 2**30
SITES = ("pre_norm", "post_norm", "logits", "resid.2")


def tokens(n: int = 3, seq: int = 7) -> torch.Tensor:
    return torch.randint(0, VOCAB, (n, seq), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", DECODED)
def test_what_no_engine_runs_decodes(model_of: Callable[..., Model], family: str) -> None:
    model = model_of(family)
    assert model.engine == "decode"
    for layer in (0, 1):
        assert check(model, tokens(), layer, budget=BUDGET).verdict == "passed"


@pytest.mark.parametrize("family", ["mpt", "mamba", "lfm2"])
def test_rows_share_prefixes_in_any_order(model_of: Callable[..., Model], family: str) -> None:
    model, contexts, context_of = model_of(family), tokens(), torch.tensor([2, 0, 2, 1])
    points = torch.randn(4, 3, D_MODEL, generator=torch.Generator().manual_seed(1)).double()
    parts = list(sweep(model, 0, contexts, context_of, points.__getitem__, SITES, budget=BUDGET))
    for site in SITES:
        swept = torch.cat([out[site] for _, out in parts])
        for row, context in enumerate(context_of):
            whole = full_forward(model, 0, contexts[context], points[row], SITES)[site]
            # the library takes some of it in float32
            torch.testing.assert_close(swept[row], whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["mpt", "mamba", "lfm2", "qwen3_5_text"])
def test_batches_that_share_a_prefix_leave_it_as_it_was(
    model_of: Callable[..., Model], family: str
) -> None:
    model, contexts = model_of(family), tokens(1)
    points = torch.randn(6, 3, D_MODEL, generator=torch.Generator().manual_seed(1)).double()

    def swept(budget: int) -> list[torch.Tensor]:
        rows = torch.zeros(len(points), dtype=torch.long)
        parts = sweep(model, 0, contexts, rows, points.__getitem__, ["post_norm"], budget=budget)
        return [out["post_norm"] for _, out in parts]

    _, row = rows_that_fit(model, k=3, seq=7, sites=["post_norm"], budget=BUDGET)
    parts, [whole] = swept(2 * row), swept(BUDGET)
    assert len(parts) == 3
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bloom", "qwen3_5_text"])
def test_sites_hold_what_the_hugging_face_model_has_there(
    model_of: Callable[..., Model], family: str
) -> None:
    model = model_of(family)
    hf = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float64)
    out = hf(tokens(), output_hidden_states=True)
    ours = clean(model, tokens(), [0, 1], sites=("post_norm", "logits"), budget=BUDGET)
    for layer in (0, 1):
        theirs = out.hidden_states[layer + 1][:, -1]
        torch.testing.assert_close(ours[f"resid.{layer}"], theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours["logits"], out.logits[:, -1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        ours["post_norm"], out.hidden_states[-1][:, -1], rtol=1e-5, atol=1e-6
    )


def test_gates_are_what_the_activation_function_sees(model_of: Callable[..., Model]) -> None:
    model = model_of("qwen3_5_text")
    hf = model.hooks.hf
    seen: list[torch.Tensor] = []
    activation = hf.get_submodule(model.gates[2].hook)
    handle = activation.register_forward_pre_hook(lambda _, args: seen.append(args[0][:, -1]))
    gates = clean(model, tokens(), [], sites=("gate.2",), budget=BUDGET)["gate.2"]
    handle.remove()
    assert torch.equal(seen[-1], gates)


def test_layers_that_read_the_token_again_are_known(model_of: Callable[..., Model]) -> None:
    """Per-layer embeddings of the token: the output is no function of the stream alone."""
    result = check(model_of("gemma4_text"), tokens(), 0, budget=BUDGET)
    assert result.verdict == "passed"
    assert max(result.token.values()) > 1e-3
    for family in ("llama", "mamba"):
        result = check(model_of(family), tokens(), 0, budget=BUDGET)
        assert max(result.token.values()) < result.tolerance


def test_what_all_tokens_share_in_a_mixture_is_no_gate_of_its_mlp(
    model_of: Callable[..., Model],
) -> None:
    mixture = model_of("granitemoehybrid")
    assert mixture.gates == (None, None, None)
    assert mixture.d_mlp == D_MLP  # as its config has it
    assert [gate and gate.width for gate in model_of("jamba").gates] == [D_MLP, None, D_MLP]


def test_a_llama_gives_the_same_by_each_engine(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    points = torch.randn(3, 4, D_MODEL, generator=torch.Generator().manual_seed(1))
    outs = []
    for engine in ("auto", "bridge", "decode"):
        model = load_model(folder, device="cpu", engine=engine, threads=1)
        assert model.engine == {"auto": "fused"}.get(engine, engine)
        [(_, out)] = sweep(
            model, 0, tokens(), torch.arange(3), points.__getitem__, SITES, budget=BUDGET
        )
        outs.append(out)
    for site in SITES:
        for out in outs[1:]:
            torch.testing.assert_close(out[site], outs[0][site], rtol=1e-4, atol=1e-4)


def test_a_list_that_is_not_of_the_stream_s_layers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = nn.ModuleList()

    def mlps(hf: Any) -> nn.ModuleList:
        parts.extend(layer.mlp for layer in hf.model.layers)
        return parts

    monkeypatch.setattr(native, "layers_of", mlps)
    with pytest.raises(UserError, match="its final norm does not read what its last layer gives"):
        load_model(make_model(tmp_path), device="cpu", engine="decode", threads=1)


def test_a_cache_that_mixes_up_rows_is_seen(
    model_of: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = native._spread
    monkeypatch.setattr(native, "_spread", lambda cache, rows: spread(cache, rows.flip(0)))
    verdict = check(model_of("mamba"), tokens(), 0, budget=BUDGET).verdict
    assert "differs from" in verdict


def test_code_that_mixes_up_rows_is_refused_while_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_architecture(tmp_path, "RwkvForCausalLM")
    with pytest.raises(UserError, match="'rwkv' cannot be run: its code in transformers mixes up"):
        load_model(folder, device="cpu", threads=1)
    monkeypatch.setattr(native, "WRONG", {})
    model = load_model(folder, device="cpu", threads=1)
    assert "differs from" in check(model, tokens(), 0, budget=BUDGET).verdict


def test_positions_are_told_to_code_that_counts_from_nothing(tmp_path: Path) -> None:
    model = load_model(make_architecture(tmp_path, "BambaForCausalLM"), device="cpu", threads=1)
    assert model.engine == "decode"
    assert check(model, tokens(), 0, budget=BUDGET).verdict == "passed"


def test_a_dtype_that_the_library_s_code_cannot_take_is_named(tmp_path: Path) -> None:
    folder = make_architecture(tmp_path, "XGLMForCausalLM")
    with pytest.raises(UserError, match="'xglm' cannot be run in float64: value cannot be conv"):
        load_model(folder, dtype="float64", device="cpu", threads=1)
