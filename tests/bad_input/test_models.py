"""Model folders and GGUF files: how one is spoilt, and what is said of it when."""

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stable_regions.base import files
from stable_regions.models.check import check
from stable_regions.models.facts import model_row
from stable_regions.models.load import load_model
from stable_regions.sources import gguf_file
from stable_regions.sources import packages as sources
from stable_regions.study import config
from tests import gguf_model
from tests.bad_input import SHIPPED, refused
from tests.models import make_model
from tests.tiny_study import make_sources, tokenizer

Spoil = Callable[[Path], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in which nothing is wrong, and weights that lie beside it."""
    folder = make_model(tmp_path_factory.mktemp("models") / "whole", n_layers=2)
    tokenizer().save(str(folder / "tokenizer.json"))
    shutil.copy(folder / "model.safetensors", folder.parent / "other.safetensors")
    return folder


def holding(name: str, content: bytes | str | Any) -> Spoil:
    """A file of the folder gets this content, as JSON where it is not text or bytes."""
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    return lambda folder: (folder / name).write_bytes(content)


def saying(**changes: Any) -> Spoil:
    """The config says this; None takes a key out."""

    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        config = {key: value for key, value in config.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(config))

    return spoil


def weighing(change: Callable[[dict[str, torch.Tensor]], Any]) -> Spoil:
    """The weights are changed."""

    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return spoil


def cut(share: float) -> Spoil:
    """The weights are only there to a share of their bytes."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        os.truncate(path, int(path.stat().st_size * share))

    return spoil


def instead(name: str, put: Callable[[Path], Any]) -> Spoil:
    """Something else stands in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        put(folder / name)

    return spoil


def sharded(index: Any) -> Spoil:
    """The weights are in one shard, of which there is this index."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        (folder / sources.INDEX).write_text(json.dumps(index))

    return spoil


def indexed(*names: Any) -> Spoil:
    """An index names these files for the weights."""
    return sharded({"weight_map": dict(enumerate(names))})


def beside(name: str) -> Spoil:
    """A copy of the weights has another name."""
    return lambda folder: shutil.copy(folder / "model.safetensors", folder / name)


def twice(folder: Path) -> None:
    """Two shards hold the same weights."""
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in names:
        shutil.copy(folder / "model.safetensors", folder / name)
    (folder / "model.safetensors").unlink()
    (folder / sources.INDEX).write_text(json.dumps({"weight_map": dict(enumerate(names))}))


def twice_and_named_once(folder: Path) -> None:
    twice(folder)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / sources.INDEX).write_text(json.dumps(index))


def adapter_alone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").rename(folder / "adapter_config.json")


def pickled(path: Path) -> None:
    torch.save({"a": torch.ones(2)}, path)


UP = "model.layers.1.mlp.up_proj.weight"
LATER = "model.layers.2.mlp.up_proj.weight"
OUT = "model.layers.1.self_attn.o_proj"
FREQUENCIES = "model.layers.1.self_attn.rotary_emb.inv_freq"
NAN, INF = float("nan"), float("inf")
# A header of eight bytes, then as many bytes of JSON as these say.
ENDLESS = (2**62).to_bytes(8, "little") + b"{}"

MADE: dict[str, tuple[Spoil, str]] = {
    "an activation that there is not": (
        saying(hidden_act="x"), "config.json | 'x'",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "an empty config": (holding("config.json", ""), "config.json | JSON"),
    "a config that is a list": (holding("config.json", []), "config.json | list"),
    "a config without end": (
        holding("config.json", "[" * 100_000), "config.json | JSON | maximum",
    ),
    "a config that is a folder": (instead("config.json", Path.mkdir), "config.json"),
    "a config that never ends": (instead("config.json", os.mkfifo), "config.json"),
    "no kind of model": (
        saying(model_type=None), "config.json: model_type | None",
    ),
    "no layers of an unknown kind": (
        saying(model_type="x", num_hidden_layers=None), "config.json | num_hidden_layers"
    ),
    "layers in words": (
        saying(num_hidden_layers="two"), "config.json: num_hidden_layers | 'two'",
    ),
    "half a layer": (saying(num_hidden_layers=1.5), "config.json: num_hidden_layers | 1.5"),
    "layers below nothing": (saying(num_hidden_layers=-1), "num_hidden_layers | -1"),
    "a width that is no number": (saying(hidden_size=NAN), "hidden_size | nan"),
    "no vocabulary": (saying(vocab_size=0), "config.json: vocab_size | 0"),
    "a part that is a list": (saying(text_config=[1]), "config.json: text_config | [1]"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "a pickle alone": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "model.safetensors | pytorch_model.bin",
    ),
    "a pickle by another name": (
        instead("model.safetensors", pickled),
        "model.safetensors | pickle",
    ),
    "an older pickle by another name": (
        holding("model.safetensors", pickle.dumps({"a": 1})), "model.safetensors | pickle",
    ),
    "empty weights": (cut(0), "model.safetensors: | safetensors"),
    "weights cut in their header": (cut(0.01), "model.safetensors: | safetensors"),
    "weights cut in the middle": (cut(0.5), "model.safetensors: | safetensors"),
    "weights cut at the end": (cut(0.9999), "model.safetensors: | safetensors"),
    "weights of noise": (
        holding("model.safetensors", bytes(range(256))), "model.safetensors: | safetensors",
    ),
    "weights with a header without end": (
        holding("model.safetensors", ENDLESS), "model.safetensors: | safetensors",
    ),
    "weights that are a folder": (instead("model.safetensors", Path.mkdir), "model.safetensors"),
    "whole numbers for weights": (
        weighing(lambda weights: weights.update({UP: weights[UP].to(torch.int32)})),
        f"{UP} | I32",
    ),
    "weights of eight bits": (
        weighing(lambda weights: weights.update({UP: weights[UP].to(torch.float8_e4m3fn)})),
        f"{UP} | F8_E4M3",
    ),
    "an index that is a list": (sharded([]), "index.json | list"),
    "an index of nothing": (indexed(), "index.json: weight_map | {}"),
    "an index without its map": (sharded({}), "index.json: weight_map | None"),
    "an index of files outside": (
        indexed("../other.safetensors"), "weight_map.0 | '../other.safetensors'",
    ),
    "an index of files of this machine": (
        indexed("/etc/model-1-of-1.safetensors"), "weight_map.0 | '/etc/model-1-of-1.safetens",
    ),
    "an index of files in disguise": (
        indexed("model-/../../x-of-1.safetensors"), "weight_map.0 | 'model-/../../x-of-1.safe",
    ),
    "an index of a pickle": (indexed("pytorch_model.bin"), "weight_map.0 | 'pytorch_"),
    "an index of numbers": (indexed(1), "weight_map.0 | 1"),
    "an index of a file that is gone": (
        indexed("model-00001-of-00001.safetensors", "model-00002-of-00002.safetensors"),
        "model-00002-of-00002.safetensors",
    ),
    "shards without an index": (
        lambda folder: (folder / "model.safetensors").rename(
            folder / "model-00001-of-00001.safetensors"
        ),
        "model-00001-of-00001.safetensors | model.safetensors.index.json",
    ),
    "a shard that no index names": (
        twice_and_named_once, "model-00002-of-00002.safetensors | model.safetensors.index.json",
    ),
    "a weight in two shards": (twice, "model-0000 | another file"),
    "shards beside whole weights": (
        beside("model-00001-of-00001.safetensors"),
        "model.safetensors | model-00001-of-00001.safetensors",
    ),
    "an adapter beside the weights": (
        beside("adapter_model.safetensors"), "adapter_model.safetensors: | adapter",
    ),
    "the settings of an adapter": (
        holding("adapter_config.json", {"peft_type": "LORA"}), "adapter_config.json: | adapter",
    ),
    "an adapter alone": (adapter_alone, "adapter_config.json: | adapter"),
    "a link out of the folder": (
        instead("model.safetensors", lambda path: path.symlink_to("../other.safetensors")),
        "model.safetensors: | link",
    ),
    "a link to a file of this machine": (
        instead("generation_config.json", lambda path: path.symlink_to(__file__)),
        f"generation_config.json: | {__file__}",
    ),
    "a link to nothing": (
        instead("model.safetensors", lambda path: path.symlink_to("x")), "model.safetensors",
    ),
    "a link to itself": (
        instead("model.safetensors", lambda path: path.symlink_to(path.name)), "model.safetensors",
    ),
}  # fmt: skip

LOADED: dict[str, tuple[Spoil, str]] = {
    "code of its own": (
        saying(model_type="x", auto_map={"AutoConfig": "code.C"}),
        "config.json: | code",
    ),
    "quantised weights": (
        saying(quantization_config={"quant_method": "gptq"}),
        "config.json: quantization_config | {'quant_method': 'gptq'}",
    ),
    "heads that do not divide it": (saying(num_attention_heads=5), "config.json: Class validation"),
    "heads in words": (saying(num_attention_heads="4"), "expected int, got str (value: '4')"),
    "an unknown dtype": (saying(dtype="float7"), "config.json: module 'torch' has no attribute"),
    "a function that there is not": (saying(hidden_act="x"), "cannot be loaded: 'x'"),
    "no positions": (saying(max_position_embeddings=0), "max_position_embeddings | 0"),
    "a settings file that is a list": (holding("generation_config.json", []), "cannot be loaded: "),
    "fewer layers than weights": (
        saying(num_hidden_layers=1), "model.layers.1.input_layernorm.weight | config.json",
    ),
    "the library's layers": (
        saying(num_hidden_layers=None), "model.layers.10."
    ),
    "more layers than weights": (saying(num_hidden_layers=3), "model.layers.2."),
    "a block too many": (
        weighing(lambda weights: weights.update({LATER: torch.ones(2)})), LATER,
    ),
    "a weight of another shape": (
        weighing(lambda weights: weights.update({UP: torch.ones(3, 3)})),
        f"{UP} | [3, 3] | [48, 32]",
    ),
    "a bias that the config does not declare": (
        weighing(lambda weights: weights.update({f"{OUT}.bias": torch.ones(32)})),
        f"{OUT}.bias | config.json",
    ),
    "a bias of the head": (
        weighing(lambda weights: weights.update({"lm_head.bias": torch.ones(61)})),
        "lm_head.bias",
    ),
    "an adapter among the weights": (
        weighing(lambda weights: weights.update({f"{OUT}.lora_A.weight": torch.ones(2, 32)})),
        f"{OUT}.lora_A.weight",
    ),
    "frequencies of another rotation": (
        weighing(lambda weights: weights.update({FREQUENCIES: torch.ones(4)})),
        f"{FREQUENCIES} | config.json",
    ),
    "a vocabulary beyond all memory": (
        saying(vocab_size=10**12), "embed_tokens.weight | [61, 32]",
    ),
    "an infinite weight": (
        weighing(lambda weights: weights[UP].__setitem__((3, 4), INF)),
        f"{UP} | finite",
    ),
    "weights below all numbers": (
        weighing(lambda weights: weights[UP].fill_(-INF)), f"{UP} | finite",
    ),
}  # fmt: skip

CHECKED: dict[str, Spoil] = {
    "weights that overflow": weighing(lambda weights: weights[UP].mul_(1e38)),
    "a norm that is no number": saying(rms_norm_eps=NAN),
    "positions that are no numbers": saying(
        rope_parameters={"rope_type": "default", "rope_theta": 0.0}
    ),
}  # fmt: skip


def make(folder: Path, target: Path) -> None:
    """Make a model folder of a local one, as the workflow does it."""
    with files.atomic(target) as made:
        made.mkdir()
        sources.link_local(folder, made)
        sources.describe(made, source={"kind": "local"}, family="F", licence="L")
        model_row("m", made)


def spoilt(whole: Path, tmp_path: Path, spoil: Spoil) -> Path:
    shutil.copy(whole.parent / "other.safetensors", tmp_path)
    spoil(folder := shutil.copytree(whole, tmp_path / "spoilt"))
    return folder


def test_the_folder_that_is_spoilt_is_right(whole: Path, tmp_path: Path) -> None:
    make(whole, tmp_path / "made")
    model = load_model(tmp_path / "made", device="cpu", threads=1)
    tokens = torch.arange(20).reshape(2, 10)
    assert check(model, tokens, 0, budget=2**30).verdict == "passed"


@pytest.mark.parametrize("mistake", MADE)
def test_a_wrong_model_folder_becomes_no_model(whole: Path, tmp_path: Path, mistake: str) -> None:
    spoil, message = MADE[mistake]
    folder = spoilt(whole, tmp_path, spoil)
    before = sorted(tmp_path.rglob("*"))
    with refused(str(folder), message):
        make(folder, tmp_path / "made" / "model")
    assert set(tmp_path.rglob("*")) == {*before, tmp_path / "made"}


@pytest.mark.parametrize("mistake", LOADED)
def test_a_wrong_model_is_not_loaded(whole: Path, tmp_path: Path, mistake: str) -> None:
    spoil, message = LOADED[mistake]
    with refused(message):
        load_model(spoilt(whole, tmp_path, spoil), device="cpu", threads=1)


@pytest.mark.parametrize("mistake", CHECKED)
def test_a_model_without_finite_outputs_fails_its_check(
    whole: Path, tmp_path: Path, mistake: str
) -> None:
    model = load_model(spoilt(whole, tmp_path, CHECKED[mistake]), device="cpu", threads=1)
    tokens = torch.arange(20).reshape(2, 10)
    assert check(model, tokens, 0, budget=2**30).verdict == "an output is not finite"


def test_a_device_that_is_not_here(whole: Path) -> None:
    with refused("'cuda:99'"):
        load_model(whole, device="cuda:99", threads=1)


def test_a_snapshot_of_the_hub_s_cache_is_a_local_model(whole: Path, tmp_path: Path) -> None:
    """Its files are links, but to the blobs beside it."""
    snapshot = tmp_path / "models--me--model" / "snapshots" / "0123"
    shutil.copytree(whole, snapshot.parents[1] / "blobs")
    snapshot.mkdir(parents=True)
    for path in whole.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    make(snapshot, tmp_path / "made")
    assert (tmp_path / "made" / "config.json").resolve().parent.name == "blobs"


def test_nothing_is_written_through_a_link(whole: Path, tmp_path: Path) -> None:
    def seen() -> list:
        return [
            (path, path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in sorted(whole.iterdir())
        ]

    before = seen()
    make(whole, tmp_path / "made")
    assert (tmp_path / "made" / "model.safetensors").is_symlink()
    make(whole, tmp_path / "made")
    assert seen() == before


LOCAL = {
    "a pickle": ("weights.bin", b"\x80\x04", "weights.bin | folder | .gguf"),
    "a pickle by another name": ("x.gguf", b"\x80\x04", "x.gguf: not a GGUF file, which begins"),
    "an empty folder": ("x/", b"", "no config.json in this model folder"),
}


@pytest.mark.parametrize("mistake", LOCAL)
def test_a_wrong_path_is_told_before_anything_runs(tmp_path: Path, mistake: str) -> None:
    name, content, message = LOCAL[mistake]
    place = tmp_path / name
    place.mkdir() if name.endswith("/") else place.write_bytes(content)
    raw = copy.deepcopy(SHIPPED)
    raw["models"]["m"] = {
        "family": "F", "licence": "L", "source": {"kind": "local", "path": str(place)},
    }  # fmt: skip
    raw["studies"]["embedded"]["experiments"] = {"examples": ["m"]}
    with refused("config.yaml: models.m.source.path: ", message):
        config.check_paths(config.load(raw))


# GGUF files.


class Writer(gguf.GGUFWriter):
    """Leaves out a tensor, or counts a block too few."""

    without, uncounted = "", 0

    def add_block_count(self, length: int) -> None:
        super().add_block_count(length - self.uncounted)

    def add_tensor(self, name: str, tensor: np.ndarray, **how: Any) -> None:  # type: ignore[override]
        if name != self.without:
            super().add_tensor(name, tensor, **how)


@pytest.fixture(scope="module")
def a_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    make_sources(folder)
    gguf_model.write_gguf(folder / "sources" / "tiny-llama", folder / "whole.gguf")
    return folder / "whole.gguf"


def converted(path: Path, target: Path) -> Path:
    with files.atomic(target) as made:
        made.mkdir()
        gguf_file.convert_gguf(path, made)
    return target


def test_the_gguf_that_is_spoilt_is_right(a_gguf: Path, tmp_path: Path) -> None:
    assert "config.json" in os.listdir(converted(a_gguf, tmp_path / "made"))


@pytest.mark.parametrize("share", [0, 0.0001, 0.05, 0.3, 0.7, 0.99, 0.99999])
def test_a_truncated_gguf(a_gguf: Path, tmp_path: Path, share: float) -> None:
    content = a_gguf.read_bytes()
    (tmp_path / "x.gguf").write_bytes(content[: int(len(content) * share)])
    with refused("x.gguf: | GGUF"):
        converted(tmp_path / "x.gguf", tmp_path / "made")
    assert os.listdir(tmp_path) == ["x.gguf"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"without": "blk.1.ffn_up.weight"}, f"x.gguf: the weights lack {UP} (1 tensors missing)"),
        ({"uncounted": 1}, "x.gguf | blk.2."),
        ({"uncounted": -1}, "x.gguf: the weights lack model.layers.3."),
    ],
)
def test_a_gguf_of_other_weights_than_it_says(
    a_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, said: str
) -> None:
    """The library would fill in random numbers, or leave out a block."""
    monkeypatch.setattr(gguf, "GGUFWriter", type("Spoilt", (Writer,), change))
    gguf_model.write_gguf(a_gguf.parent / "sources" / "tiny-llama", tmp_path / "x.gguf")
    with refused(said):
        converted(tmp_path / "x.gguf", tmp_path / "made")
    assert os.listdir(tmp_path) == ["x.gguf"]
