"""Loading: what a model says of itself, and the mistakes in a folder that are named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from stable_regions.base.errors import UserError
from stable_regions.models.load import load_model
from tests.models import D_MODEL, VOCAB, WINDOW, make_model


def load(folder, dtype="float32"):
    return load_model(folder, dtype=dtype, device="cpu", threads=1)


@pytest.mark.parametrize(
    ("family", "gated", "norm", "window"),
    [
        ("llama", True, "rms", None),
        ("mistral", True, "rms", WINDOW),
        ("olmo", True, "layer", None),
        ("gpt2", False, "layer", None),
        ("gemma3_text", True, "rms", WINDOW),
    ],
)
def test_a_model_knows_itself(model_of, family, gated, norm, window):
    model = model_of(family)
    assert (model.family, model.gated, model.norm, model.window) == (family, gated, norm, window)
    assert (model.n_layers, model.d_model, model.vocab_size) == (3, D_MODEL, VOCAB)
    assert model.dtype == torch.float64
    assert next(model.bridge.original_model.parameters()).dtype == torch.float64


def test_parameters_are_counted_once_where_tied(tmp_path):
    folder = make_model(tmp_path, "gpt2")
    held = sum(weight.numel() for weight in load_file(folder / "model.safetensors").values())
    assert load(folder).n_parameters == held


def test_the_bridge_computes_what_the_hub_model_computes(tmp_path):
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path)
    ids = torch.arange(10)[None]
    theirs = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    ours = load(folder).bridge(ids)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_loading_sets_the_number_of_threads(tmp_path):
    before = torch.get_num_threads()
    load_model(make_model(tmp_path), device="cpu", threads=2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def write(folder, weights):
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def set_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def not_finite(folder):
    weights = weights_of(folder)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    write(folder, weights)


def lacking(folder):
    weights = weights_of(folder)
    del weights["model.layers.1.mlp.up_proj.weight"]
    write(folder, weights)


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def shard_gone(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
        }
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (pickled, "pytorch_model.bin is a pickle and is not read"),
        (truncated, "model.safetensors: not a whole safetensors file"),
        (shard_gone, "no model-00002-of-00002.safetensors"),
        (not_finite, "layers.1.mlp.up_proj.weight holds a number that is not finite"),
        (lacking, "the weights lack model.layers.1.mlp.up_proj.weight"),
        (lambda folder: set_config(folder, vocab_size=VOCAB + 1), "cannot be loaded"),
        (lambda folder: set_config(folder, model_type="nonesuch"), "config.json: .*nonesuch"),
    ],
)
def test_a_spoilt_folder_is_named(tmp_path, spoil, said):
    folder = make_model(tmp_path)
    spoil(folder)
    with pytest.raises(UserError, match=said) as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_an_unknown_dtype_is_named(tmp_path):
    with pytest.raises(UserError, match="'float8'.* float32"):
        load(tmp_path, dtype="float8")


def test_a_model_without_final_norm_is_refused(tmp_path):
    with pytest.raises(UserError, match="'openai-gpt'.* final norm"):
        load(make_model(tmp_path, "openai-gpt"))


def test_weights_whose_links_lead_nowhere_are_named(tmp_path):
    made = make_model(tmp_path / "made")
    folder = tmp_path / "linked"
    folder.mkdir()
    (folder / "config.json").write_text((made / "config.json").read_text())
    (folder / "model.safetensors").symlink_to(made / "model.safetensors")
    load(folder)
    (made / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"delete {folder} and run again"):
        load(folder)


def test_a_device_map_puts_the_weights_where_one_device_does(tmp_path):
    folder = make_model(tmp_path)
    ids = torch.arange(10)[None]
    spread = load_model(folder, device_map="auto", threads=1)
    alone = load(folder)
    assert (spread.device, spread.dtype) == (alone.device, alone.dtype)
    assert torch.equal(spread.bridge(ids), alone.bridge(ids))
