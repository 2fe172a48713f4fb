"""The engines against plain patching, and their promises on memory, bytes and errors.

Largest relative errors measured here between a sweep and plain patching: 6e-15 where everything is
float64, 1e-6 in a float64 model as the Hub writes it, 7e-7 in float32 and 7e-2 in bfloat16 (4e-3
through the bridge, which rounds where plain patching does).
"""

import json
import subprocess
import sys
import weakref
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stable_regions.base.errors import UserError
from stable_regions.models import huggingface
from stable_regions.models.check import TOLERANCE, check
from stable_regions.models.fused import FAMILIES as FUSED_FAMILIES
from stable_regions.models.load import load_model
from stable_regions.models.model import check_layer
from stable_regions.models.sweep import (
    BATCH_BYTES,
    BATCH_POINTS,
    batch_rows,
    clean,
    full_forward,
    rows_that_fit,
    sweep,
)
from tests.models import D_MLP, D_MODEL, FAMILIES, HEADS, MAX_TOKENS, VOCAB, WINDOW, make_model

SITES = ("pre_norm", "post_norm", "logits", "gate.2", "resid.2")
BUDGET = 10**7
ENGINES = [(family, "bridge") for family in FAMILIES]
ENGINES += [(family, "fused") for family in sorted(FUSED_FAMILIES)]


def tokens(n, seq=7, seed=0):
    return torch.randint(0, VOCAB, (n, seq), generator=torch.Generator().manual_seed(seed))


def cloud(rows, k, seed=0):
    return torch.randn(rows, k, D_MODEL, generator=torch.Generator().manual_seed(seed))


def run(model, layer, contexts, context_of, points, sites=SITES, budget=BUDGET):
    """All rows of a sweep in one table of tensors."""
    parts = [
        out
        for _, out in sweep(
            model, layer, contexts, context_of, points.__getitem__, sites, budget=budget
        )
    ]
    return {site: torch.cat([part[site] for part in parts]) for site in sites}


def error(ours, reference):
    gap = (ours.double() - reference.double()).norm(dim=-1)
    return float((gap / reference.double().norm(dim=-1)).max())


class InDouble(TorchFunctionMode):
    """Lifts to float64 what the Hub's code takes in float32 whatever the model's dtype."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def lift(value):
            return torch.float64 if value is torch.float32 else value

        func = torch.Tensor.double if func is torch.Tensor.float else func
        return func(*map(lift, args), **{key: lift(value) for key, value in (kwargs or {}).items()})


def loaded(model_of, family, engine, dtype="float64"):
    model = model_of(family, dtype, "auto" if engine == "fused" else engine)
    assert model.engine == engine
    return model


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(("family", "engine"), ENGINES)
def test_sweep_equals_plain_patching(model_of, family, engine, layer):
    model = loaded(model_of, family, engine)
    contexts, context_of, points = tokens(3), torch.tensor([2, 0, 2, 1, 0]), cloud(5, 4)
    with InDouble():
        out = run(model, layer, contexts, context_of, points)
        for row, context in enumerate(context_of):
            reference = full_forward(model, layer, contexts[context], points[row], SITES)
            for site in SITES:
                assert out[site][row].shape == reference[site].shape
                assert error(out[site][row], reference[site]) < 1e-13, site


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
        ("llama", {"tie_word_embeddings": True, "hidden_act": "gelu", "num_key_value_heads": 1}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1e4,
                    "factor": 4.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                }
            },
        ),
        ("mistral", {"num_key_value_heads": 4}),
        ("olmo", {"clip_qkv": None, "num_key_value_heads": 1}),
        ("qwen3", {"attention_bias": True}),
        ("olmo2", {"attention_bias": True}),
        ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
        ("gemma3_text", {"final_logit_softcapping": 3.0}),
        ("gemma2", {"hidden_act": "relu"}),  # which its code doesn't read
        ("llama", {"query_pre_attn_scalar": 3}),
    ],
)
def test_the_fused_engine_follows_the_config(tmp_path, family, changes):
    folder = make_model(tmp_path, family, **changes)
    model = load_model(folder, dtype="float64", device="cpu", threads=1)
    assert model.engine == "fused"
    contexts, points = tokens(2), cloud(2, 3)
    with InDouble():
        out = run(model, 0, contexts, torch.arange(2), points)
        for row in range(2):
            reference = full_forward(model, 0, contexts[row], points[row], SITES)
            assert max(error(out[site][row], reference[site]) for site in SITES) < 1e-13


@pytest.mark.parametrize(
    ("family", "stray"),
    [("llama", {"clip_qkv": 0.01}), ("gemma3_text", {"attn_logit_softcapping": 0.1})],
)
def test_hooks_that_change_the_outputs_are_not_used(tmp_path, family, stray):
    """TransformerLens obeys keys that the library's code of a family does not read."""
    folder = make_model(tmp_path, family, **stray)
    model = load_model(folder, dtype="float64", device="cpu", threads=1)
    assert model.engine == "decode"
    alone = huggingface.load(folder, dtype=torch.float64)(tokens(3)).logits[:, -1]
    out = clean(model, tokens(3), [0], sites=("logits",), budget=BUDGET)["logits"]
    assert error(out, alone) < 1e-12
    with pytest.raises(UserError, match="cannot be hooked .* its outputs differ by"):
        load_model(folder, dtype="float64", device="cpu", threads=1, engine="bridge")


def test_rotations_that_depend_on_length_are_left_to_the_bridge(tmp_path):
    rotation = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
    folder = make_model(tmp_path, rope_parameters=rotation)
    assert load_model(folder, dtype="float64", device="cpu", threads=1).engine == "bridge"


def test_a_fused_engine_that_disagrees_is_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("stable_regions.models.fused._rotated", lambda x, *_: x)
    model = load_model(make_model(tmp_path), dtype="float64", device="cpu", threads=1)
    assert model.engine == "bridge"


def test_regrouped_weights_are_no_second_copy(model_of):
    model = model_of()
    layer, attention = model.fused.layers[0], model.bridge.blocks[0].original_component.self_attn
    for name, start in (("q_proj", 0), ("k_proj", D_MODEL)):
        part = getattr(attention, name).original_component.weight
        assert part.data_ptr() == layer.qkv.weight[start:].data_ptr()


@pytest.mark.parametrize("layer", [0, 3, 6])
@pytest.mark.parametrize("seq", [pytest.param(2, marks=pytest.mark.slow), 9])
@pytest.mark.parametrize("engine", ["bridge", "auto"])
def test_first_middle_and_last_write_layers(tmp_path, layer, seq, engine):
    folder = make_model(tmp_path, n_layers=8)
    model = load_model(folder, dtype="float64", device="cpu", engine=engine, threads=1)
    contexts, points = tokens(2, seq), cloud(2, 3)
    sites = ("pre_norm", f"gate.{layer + 1}", "gate.7", f"resid.{layer + 1}")
    out = run(model, layer, contexts, torch.arange(2), points, sites)
    for row in range(2):
        reference = full_forward(model, layer, contexts[row], points[row], sites)
        assert max(error(out[site][row], reference[site]) for site in sites) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "engine"), ENGINES)
def test_lower_precision_stays_within_its_tolerance(model_of, dtype, family, engine):
    model = loaded(model_of, family, engine, dtype)
    result = check(model, tokens(3), 0, budget=BUDGET)
    assert result.verdict == "passed"
    assert max(result.sweep_error.values()) < TOLERANCE[getattr(torch, dtype)]


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 6),
    k=st.integers(1, 5),
    seq=st.integers(2, 8),
    layer=st.integers(0, 1),
    engine=st.sampled_from(["bridge", "auto"]),
    seed=st.integers(0, 99),
)
def test_sweep_equals_plain_patching_at_any_shape(model_of, rows, k, seq, layer, engine, seed):
    model = model_of(engine=engine)
    contexts, points = tokens(3, seq, seed), cloud(rows, k, seed)
    context_of = torch.randint(0, 3, (rows,), generator=torch.Generator().manual_seed(seed))
    out = run(model, layer, contexts, context_of, points, ("pre_norm",))["pre_norm"]
    for row in range(rows):
        reference = full_forward(
            model, layer, contexts[context_of[row]], points[row], ("pre_norm",)
        )
        assert error(out[row], reference["pre_norm"]) < 1e-5


def test_own_activation_gives_the_clean_output(model_of):
    model, prompts = model_of(), tokens(4)
    runs = clean(model, prompts, [0, 1], sites=("post_norm", "logits", "gate.2"), budget=BUDGET)
    assert set(runs) == {"resid.0", "resid.1", "post_norm", "logits", "gate.2"}
    assert runs["logits"].shape == (4, VOCAB)
    assert runs["gate.2"].shape == (4, D_MLP)
    for layer in (0, 1):
        points = runs[f"resid.{layer}"][:, None]
        out = run(model, layer, prompts, torch.arange(4), points, ("post_norm", "gate.2"))
        assert error(out["post_norm"][:, 0], runs["post_norm"]) < 1e-5
        assert error(out["gate.2"][:, 0], runs["gate.2"]) < 1e-5


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gates_are_what_the_activation_function_sees(model_of, family):
    model = model_of(family)
    mlp = model.bridge.blocks[2].original_component.mlp
    seen = []
    activation = mlp.act_fn if model.gated else mlp.act
    handle = activation.register_forward_pre_hook(lambda _, args: seen.append(args[0][:, -1]))
    gates = model.hooked.clean(tokens(3), ["gate.2"])["gate.2"]
    handle.remove()
    assert torch.equal(torch.cat(seen), gates)


def test_clean_runs_no_layer_beyond_what_is_asked(model_of):
    model = model_of()
    ran = []
    handles = [
        block.mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, block in enumerate(model.bridge.blocks)
    ]
    model.hooked.clean(tokens(3), ["resid.0"])
    assert ran == [0]
    for handle in handles:
        handle.remove()
    ran = []

    def counted(index, block):
        def activation(x):
            ran.append(index)
            return block.activation(x)

        return replace(block, activation=activation)

    layers = tuple(map(counted, range(len(model.fused.layers)), model.fused.layers))
    replace(model.fused, layers=layers).clean(tokens(3), ["resid.0"])
    assert ran == [0]  # at the last position: of the prefix keys and values are all that it takes


@pytest.mark.parametrize("family", sorted(FUSED_FAMILIES))
def test_clean_runs_are_those_of_the_hooks(model_of, family):
    model = model_of(family)
    assert model.fused is not None
    sites = ["resid.-1", "resid.0", "resid.1", "gate.1", "attn_out.1", "pre_norm", "logits"]
    with InDouble():
        whole = model.fused.clean(tokens(5), sites)
        for site, value in model.hooked.clean(tokens(5), sites).items():
            assert error(whole[site], value) < 1e-13, site
            assert torch.equal(model.fused.clean(tokens(5), [site])[site], whole[site]), site


def test_points_run_only_the_layers_after_the_write_layer(model_of):
    model = model_of(engine="bridge")
    ran = []
    handles = [
        block.mlp.register_forward_hook(
            lambda _, __, out, index=index: ran.append((index, *out.shape))
        )
        for index, block in enumerate(model.bridge.blocks)
    ]
    run(model, 1, tokens(1), torch.zeros(5, dtype=torch.long), cloud(5, 4))
    for handle in handles:
        handle.remove()
    prefix = [(index, 1, 6, D_MODEL) for index in range(3)]
    assert ran == [*prefix, (2, 5, 4, D_MODEL)]


@pytest.mark.parametrize("engine", ["bridge", "fused"])
def test_batches_change_nothing_but_rounding_and_runs_repeat_to_the_byte(model_of, engine):
    model = loaded(model_of, "llama", engine, "float32")
    contexts, context_of, points = tokens(4), torch.arange(12) % 4, cloud(12, 5)
    one = batch_rows(model, k=5, seq=7, sites=SITES, budget=BUDGET)
    row_bytes = BUDGET // one
    whole = run(model, 0, contexts, context_of, points)
    single = run(model, 0, contexts, context_of, points, budget=row_bytes + 99)
    again = run(model, 0, contexts, context_of, points)
    for site in SITES:
        assert torch.equal(whole[site], again[site])
        assert error(single[site], whole[site]) < 1e-5


@pytest.mark.parametrize(("k", "seq"), [(5, 7), (2000, 3), (1, 9)])
def test_on_a_processor_a_batch_is_no_larger_than_is_fast(model_of, k, seq):
    """Nor has it fewer points than that takes, if they fit; on a GPU it has what fits."""
    model, given = model_of(), {"k": k, "seq": seq, "sites": ("post_norm",)}
    fit, row = rows_that_fit(model, **given, budget=2**40)
    rows = batch_rows(model, **given, budget=2**40)
    assert 1 <= rows < fit
    assert rows in (BATCH_BYTES // row, max(1, BATCH_POINTS // k))
    assert (rows + 1) * row > BATCH_BYTES
    assert batch_rows(model, **given, budget=row) == 1
    on_a_gpu = replace(model, device=torch.device("cuda"))
    assert batch_rows(on_a_gpu, **given, budget=2**40) == fit


@pytest.mark.parametrize("engine", ["bridge", "fused"])
def test_a_prefix_that_batches_share_is_run_once(model_of, monkeypatch, engine):
    model, ran = loaded(model_of, "llama", engine, "float64"), []
    run_prefixes = type(model.runner).prefixes

    def prefixes(self, tokens):
        ran.append(tokens.tolist())
        return run_prefixes(self, tokens)

    monkeypatch.setattr(type(model.runner), "prefixes", prefixes)
    budget = 2 * (BUDGET // batch_rows(model, k=5, seq=7, sites=SITES, budget=BUDGET))
    contexts, of = tokens(3), torch.tensor([0, 0, 0, 0, 1, 2, 1, 2, 2, 0])
    parts = run(model, 0, contexts, of, cloud(10, 5), budget=budget)
    assert ran == [contexts[[0]].tolist(), contexts[[1, 2]].tolist(), contexts[[0, 2]].tolist()]
    whole = run(model, 0, contexts, of, cloud(10, 5))
    for site in SITES:
        assert error(parts[site], whole[site]) < 1e-12


def test_a_clean_run_does_not_depend_on_its_batches(model_of):
    model = model_of()
    size = BUDGET // batch_rows(model, k=1, seq=7, sites=("logits",), budget=BUDGET)
    whole = clean(model, tokens(5), [], sites=("logits",), budget=BUDGET)["logits"]
    parts = clean(model, tokens(5), [], sites=("logits",), budget=2 * size)["logits"]
    assert error(parts, whole) < 1e-5


def storages(tree):
    return {
        tensor.untyped_storage()._cdata: tensor.untyped_storage()
        for tensor in tree_leaves(tree)
        if isinstance(tensor, torch.Tensor)
    }


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of the tensors alive that were made inside it; a view is not made."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = storages((args, kwargs))
        out = func(*args, **(kwargs or {}))
        for key, storage in storages(out).items():
            if key not in given and key not in self.seen:
                self.seen.add(key)
                self.live += storage.nbytes()
                weakref.finalize(storage, self.drop, key, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return out

    def drop(self, key, size):
        self.seen.discard(key)
        self.live -= size


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A model whose prefix and MLP take most of the memory, as a real one's do."""
    folder = make_model(tmp_path_factory.mktemp("deep"), n_layers=12, intermediate_size=256)
    return load_model(folder, dtype="float64", device="cpu", threads=1)


@pytest.mark.parametrize("engine", ["bridge", "fused"])
@pytest.mark.parametrize(
    "sites",
    [
        ("gate.1", "gate.2", "pre_norm"),
        *(pytest.param((site,), marks=pytest.mark.slow) for site in ("post_norm", "logits")),
    ],
)
@pytest.mark.parametrize(("k", "seq"), [(20, 5), pytest.param(3, 16, marks=pytest.mark.slow)])
def test_peak_memory_keeps_to_the_budget_and_does_not_grow_with_rows(deep, engine, sites, k, seq):
    model, budget = deep if engine == "fused" else replace(deep, fused=None), 8 * 10**5
    size = batch_rows(model, k=k, seq=seq, sites=sites, budget=budget)
    assert size > 1
    peaks = []
    for batches in (2, 4):
        rows = size * batches
        contexts, points = tokens(rows, seq), cloud(rows, k).double()
        asked: list[int] = []

        def give(part, points=points, asked=asked):
            asked.append(part.stop - part.start)
            return points[part]

        with PeakBytes() as memory:
            for _ in sweep(model, 0, contexts, torch.arange(rows), give, sites, budget=budget):
                pass
        assert asked == [1] + [size] * batches
        peaks.append(memory.peak)
    assert peaks[1] <= peaks[0] * 1.01 <= budget * 1.01


def test_gradients_are_off_and_the_caller_keeps_its_own_mode(model_of):
    model = model_of()
    points = cloud(2, 3).requires_grad_()
    for _, out in sweep(
        model, 0, tokens(2), torch.arange(2), points.__getitem__, ("post_norm",), budget=BUDGET
    ):
        assert torch.is_grad_enabled()
        assert not out["post_norm"].requires_grad
    assert not clean(model, tokens(2), [0], budget=BUDGET)["resid.0"].requires_grad


def test_check_passes_and_is_json(model_of):
    result = check(model_of(), tokens(3), 1, budget=BUDGET)
    assert result.verdict == "passed"
    assert result.points == 12
    assert json.loads(json.dumps(asdict(result)))["engine"] == "fused"


def test_check_fails_on_a_wrong_engine(model_of, monkeypatch):
    def shifted(*args, **kwargs):
        for part, out in sweep(*args, **kwargs):
            yield part, {site: value * 1.01 for site, value in out.items()}

    monkeypatch.setattr("stable_regions.models.check.sweep", shifted)
    result = check(model_of(), tokens(3), 0, budget=BUDGET)
    assert result.verdict.startswith("pre_norm differs from a clean run by 1.0e-02")


def test_check_fails_on_an_output_that_is_not_finite(tmp_path):
    folder = make_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"] *= 1e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = load_model(folder, dtype="float32", device="cpu", threads=1)
    assert check(model, tokens(3), 0, budget=BUDGET).verdict == "an output is not finite"


def test_a_mask_of_the_attention_s_own_hides_no_prefix_from_many_points(model_of):
    """GPT-Neo's local layers hide by position what they are not given a mask for."""
    model = model_of("gpt_neo")
    assert model.engine == "bridge"
    points = cloud(1, MAX_TOKENS + 9).double()
    out = run(model, 0, tokens(1), torch.tensor([0]), points, SITES)
    reference = full_forward(model, 0, tokens(1)[0], points[0], SITES)
    assert max(error(out[site][0], reference[site]) for site in SITES) < 1e-5


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({}, WINDOW),
        ({"attention_types": [[["global"], 3]], "num_layers": 3}, None),
    ],
)
def test_a_window_has_other_names(tmp_path, changes, seen):
    folder = make_model(tmp_path, "gpt_neo", **changes)
    model = load_model(folder, dtype="float64", device="cpu", threads=1)
    assert model.window == seen
    contexts = tokens(1, WINDOW + 1)
    if seen is None:
        assert clean(model, contexts, [0], budget=BUDGET)
    else:
        with pytest.raises(UserError, match="prompts of 17 tokens exceed the sliding window of 16"):
            clean(model, contexts, [0], budget=BUDGET)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": 2}, "write layer 2 is the model's last"),
        ({"layer": -2}, r"write layer -2 is not in 0\.\.1"),
        ({"layer": 3}, r"write layer 3 is not in 0\.\.1"),
        ({"contexts": tokens(0)}, "there are no prompts"),
        ({"contexts": tokens(2, 1)}, "prompts of 1 token"),
        ({"contexts": tokens(2, WINDOW + 1)}, "sliding window of 16"),
        ({"contexts": tokens(2) + VOCAB}, r"are not in 0\.\.60"),
        ({"sites": ("post-norm",)}, "site 'post-norm' is unknown"),
        ({"sites": ("gate.x",)}, "site 'gate.x' is unknown"),
        ({"sites": ("gate.3",)}, r"layer 3 is not in 0\.\.2"),
        ({"sites": ("gate.0",)}, "'gate.0' is not after the write layer 0"),
        ({"budget": 1000}, "need 1 MB beside the weights: set memory_budget_mb to 1"),
    ],
)
def test_mistakes_are_named(model_of, change, said):
    given = {"layer": 0, "contexts": tokens(2), "sites": ("pre_norm",), "budget": BUDGET} | change
    with pytest.raises(UserError, match=said) as error:
        run(
            model_of("mistral"),
            given["layer"],
            given["contexts"],
            torch.arange(2),
            cloud(2, 3),
            given["sites"],
            given["budget"],
        )
    assert "\n" not in str(error.value)


def test_a_prompt_longer_than_the_positions_is_named(model_of):
    with pytest.raises(UserError, match="65 tokens exceed the model's 64 positions"):
        clean(model_of("gpt2"), tokens(2, MAX_TOKENS + 1), [0], budget=BUDGET)


def test_a_prompt_as_long_as_the_window_is_exact(model_of):
    model, contexts, points = model_of("gemma2"), tokens(1, WINDOW), cloud(1, 3)
    out = run(model, 0, contexts, torch.zeros(1, dtype=torch.long), points, ("pre_norm",))
    reference = full_forward(model, 0, contexts[0], points[0], ("pre_norm",))
    assert error(out["pre_norm"][0], reference["pre_norm"]) < 1e-5


def test_check_layer_accepts_every_layer_with_one_after_it(model_of):
    for layer in (0, 1):
        check_layer(model_of(), layer)


@pytest.mark.parametrize("family", sorted(FUSED_FAMILIES))
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_loaded_for_sweeps_alone_is_the_one_that_was_tried(tmp_path, family, tied):
    folder = make_model(tmp_path, family, tie_word_embeddings=tied)
    tried, alone = (
        load_model(folder, device="cpu", engine=engine, threads=1) for engine in ("auto", "fused")
    )
    assert alone.hooks is None
    facts = [
        {field.name: getattr(model, field.name) for field in fields(model)}
        for model in (tried, alone)
    ]
    for each in facts:
        del each["hooks"], each["fused"]
    assert facts[0] == facts[1]
    sites = [site for site in SITES if site != "resid.2"]
    swept = [
        run(model, 0, tokens(3), torch.arange(3), cloud(3, 4), sites) for model in (tried, alone)
    ]
    assert all(torch.equal(swept[0][site], swept[1][site]) for site in sites)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no /proc that tells of memory")
def test_weights_that_were_joined_are_in_memory_once(tmp_path):
    """What was read of the file to join them is let go."""
    folder = make_model(tmp_path, intermediate_size=4096)
    model = load_model(folder, device="cpu", engine="fused", threads=1)
    assert model.hooks is None
    file = folder / "model.safetensors"
    entries = Path("/proc/self/smaps").read_text().partition(str(file))[2]
    resident = int(entries.partition("Rss:")[2].split()[0]) * 1024
    assert resident < file.stat().st_size / 4  # two thirds are gates and up-projections


def test_weights_with_other_names_are_loaded_the_long_way(tmp_path):
    folder = make_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    head = weights.pop("lm_head.weight")
    bare = {name.removeprefix("model."): weight for name, weight in weights.items()}
    save_file(bare | {"lm_head.weight": head}, folder / "model.safetensors", {"format": "pt"})
    model = load_model(folder, device="cpu", engine="fused", threads=1)
    assert model.hooks is not None
    assert model.engine == "fused"


@pytest.mark.process
def test_a_job_that_sweeps_a_fused_family_imports_no_model_library(tmp_path):
    folders = [make_model(tmp_path / family, family) for family in sorted(FUSED_FAMILIES)]
    program = (
        "import sys; from pathlib import Path; from stable_regions.models.load import load_model\n"
        "from stable_regions.experiments.robustness import measure\n"
        "from stable_regions.experiments.interpolation import measure\n"
        "from stable_regions.experiments.pairwise import measure\n"
        "from stable_regions.experiments.plane import measure\n"
        "for folder in sys.argv[1:]:\n"
        "    load_model(Path(folder), device='cpu', engine='fused', threads=1)\n"
        "    libraries = {'transformer_lens', 'transformers', 'datasets', 'sklearn'}\n"
        "    found = libraries & set(sys.modules)\n"
        "    assert not found, (folder, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "left_out", ["head_dim", "num_key_value_heads", "rope_parameters", "rms_norm_eps"]
)
@pytest.mark.parametrize("null", [False, True])
def test_what_a_config_leaves_out_is_its_family_s_default(tmp_path, left_out, null):
    folder = make_model(tmp_path, num_key_value_heads=HEADS)
    whole = load_model(folder, device="cpu", engine="fused", threads=1)
    config = json.loads((folder / "config.json").read_text())
    del config[left_out]
    if null and left_out != "rms_norm_eps":  # which transformers would take as it is
        config[left_out] = None
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder, device="cpu", engine="fused", threads=1)
    assert (model.d_head, model.n_kv_heads) == (whole.d_head, whole.n_kv_heads)
    swept = [run(each, 0, tokens(2), torch.arange(2), cloud(2, 3)) for each in (whole, model)]
    assert all(torch.equal(swept[0][site], swept[1][site]) for site in swept[0])


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"rope_parameters": {}}),
        ("gemma3_text", {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}),
        (
            "gemma3_text",
            {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 5.0}}},
        ),
        ("qwen3", {"head_dim": None}),
        ("gemma2", {"head_dim": None}),
    ],
)
def test_what_a_file_leaves_to_the_library_is_as_the_library_has_it(tmp_path, family, changes):
    folder = make_model(tmp_path, family, **({"head_dim": None} if family == "llama" else {}))
    whole = load_model(folder, dtype="float64", device="cpu", threads=1)
    config = json.loads((folder / "config.json").read_text()) | changes
    lacking = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(lacking))
    try:
        loaded_again = load_model(folder, dtype="float64", device="cpu", engine="fused", threads=1)
    except UserError:  # such as weights of another shape than the default's
        return
    record = asdict(check(whole, tokens(2), 0, budget=BUDGET))
    hf = huggingface.load(folder, dtype=torch.float64)(tokens(2)).logits[:, -1]
    out = clean(loaded_again, tokens(2), [], sites=("logits",), budget=BUDGET)["logits"]
    assert error(out, hf) < 1e-5, record["verdict"]
