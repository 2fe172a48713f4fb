"""docs/adapters.md, done as it says, with an architecture that neither library knows."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from stable_regions.models.check import check
from stable_regions.models.load import load_model
from tests.models import GROUPED, VOCAB, draw
from tests.tiny_study import ROOT

PAGE = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")


class MadeUpConfig(LlamaConfig):
    model_type = "made_up"


class MadeUpLayer(LlamaDecoderLayer):
    """A Llama's layer whose norms have other names."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        self.before_attention, self.before_mlp = self.input_layernorm, self.post_attention_layernorm
        del self.input_layernorm, self.post_attention_layernorm

    def forward(  # type: ignore[override]
        self, hidden_states: torch.Tensor, **given: Any
    ) -> torch.Tensor:
        attended, _ = self.self_attn(self.before_attention(hidden_states), **given)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.before_mlp(hidden_states))


class MadeUpForCausalLM(LlamaForCausalLM):
    config_class = MadeUpConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers = (MadeUpLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.model.layers = nn.ModuleList(layers)
        self.post_init()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the made-up architecture, which transformers knows while the test runs."""
    adapters = dict(ArchitectureAdapterFactory._adapters)
    monkeypatch.setattr(ArchitectureAdapterFactory, "_adapters", adapters)
    AutoConfig.register("made_up", MadeUpConfig, exist_ok=True)
    AutoModelForCausalLM.register(MadeUpConfig, MadeUpForCausalLM, exist_ok=True)
    torch.manual_seed(0)
    model = MadeUpForCausalLM(MadeUpConfig(**GROUPED, num_hidden_layers=3))
    draw(model)
    model.save_pretrained(tmp_path)
    return tmp_path


def test_an_adapter_puts_a_model_behind_the_bridge(folder: Path) -> None:
    assert load_model(folder, dtype="float64", device="cpu", threads=1).engine == "decode"
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {"__name__": "mine"})
    model = load_model(folder, dtype="float64", device="cpu", threads=1)
    assert model.engine == "bridge"
    assert None not in model.gates
    tokens = torch.randint(0, VOCAB, (3, 7), generator=torch.Generator().manual_seed(0))
    assert check(model, tokens, 0, budget=10**7).verdict == "passed"


def test_a_package_declares_it_as_the_page_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    [points] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    package = tmp_path / "site"
    (package / "my_package-1.dist-info").mkdir(parents=True)
    (package / "my_package.py").write_text(code.partition("\n\n\nArch")[0], encoding="utf-8")
    name, _, result = points.splitlines()[1].partition(" = ")
    group = points.splitlines()[0].split('"')[1]
    written = f"[{group}]\n{name} = {result.strip(chr(34))}\n"
    (package / "my_package-1.dist-info" / "entry_points.txt").write_text(written)
    (package / "my_package-1.dist-info" / "METADATA").write_text("Name: my_package\nVersion: 1\n")
    monkeypatch.syspath_prepend(package)
    monkeypatch.setattr(ArchitectureAdapterFactory, "_entry_points_discovered", False)
    assert load_model(folder, dtype="float64", device="cpu", threads=1).engine == "bridge"
