"""Loading a model: a local Hugging Face folder becomes one that can be swept."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import torch
from safetensors import safe_open
from torch import Tensor

from stable_regions.base.errors import UserError, first_line
from stable_regions.base.files import read_object
from stable_regions.models.fused import (
    BIASES,
    FAMILIES,
    NONE_IS_SAID,
    OF_NO_MATTER,
    WRITTEN_OUT,
    Fused,
    joins,
    regroup,
)
from stable_regions.sources.packages import weight_files, weight_shapes

if TYPE_CHECKING:  # importing them takes seconds
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PretrainedConfig

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Gate:
    """Where the pre-activations of a layer's MLP are read: a TransformerLens hook, and how many."""

    hook: str
    width: int


@dataclass(frozen=True)
class Model:
    """A loaded model, and the facts about it that a measurement needs.

    Attributes
    ----------
    bridge
        The model behind TransformerLens hooks, or None if it was loaded for fused sweeps alone.
        Give it token ids, never text: it prepends no BOS.
    family
        `model_type` of its config, such as "llama".
    n_parameters
        Numbers in its weights, a tied weight counted once.
    gated
        Whether its MLPs have a gate beside the up-projection.
    gates
        By layer: its MLP's gate, or its only pre-activation where it has no gate; None where an MLP
        is a mixture of experts.
    norm
        Kind of the final norm: "rms", "layer" or "none".
    window
        Tokens that a sliding-window layer sees, or None if every layer sees all.
    max_tokens
        Longest prompt that it has positions for.
    tuple_blocks
        Whether its blocks hand on a tuple in place of the bare residual stream.
    fused
        Its weights regrouped for the fused engine, or None if sweeps go through the bridge.
    """

    bridge: "TransformerBridge | None"
    folder: Path
    family: str
    dtype: torch.dtype
    device: torch.device
    n_layers: int
    d_model: int
    d_mlp: int
    d_head: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    n_parameters: int
    gated: bool
    gates: tuple[Gate | None, ...]
    norm: str
    window: int | None
    max_tokens: int
    tuple_blocks: bool
    fused: Fused | None = None

    @property
    def engine(self) -> str:
        """What a sweep runs on: "fused" or "bridge"."""
        return "fused" if self.fused else "bridge"


def load_model(
    folder: Path,
    *,
    dtype: str = "float32",
    device: str = "auto",
    device_map: str | None = None,
    engine: str = "auto",
    threads: int,
) -> Model:
    """Load a causal language model from a folder with `config.json` and safetensors.

    The weights are read once, straight into the asked dtype. No tokenizer is needed, and no code
    from the folder is run. Sets the number of threads of this process.

    Parameters
    ----------
    dtype
        "float32", "float64" or "bfloat16".
    device
        "auto" (CUDA if there is one), or a name that torch knows, such as "cpu" or "cuda:1".
    device_map
        How the weights are spread over several GPUs ("auto", "balanced", "sequential"), in place
        of one device; sweeps then go through the bridge.
    engine
        "auto" (the fused engine where it is seen to equal plain patching, on a trial run here),
        "bridge", or "fused" (without hooks or trial: for one that was tried when its activations
        were cached).
    threads
        CPU threads for torch; part of what makes two runs give the same bytes.

    Raises
    ------
    UserError
        The folder, its weights, the dtype or the architecture cannot be used.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is unknown; one of {', '.join(DTYPES)}")
    if engine not in {"auto", "bridge", "fused"}:
        raise UserError(f"engine {engine!r} is unknown; one of auto, bridge, fused")
    torch.set_num_threads(threads)
    place = placed(device)
    if engine == "fused" and (model := _load_fused(folder, DTYPES[dtype], place)):
        return model
    from stable_regions.models import hooked as bridge  # importing them takes seconds
    from stable_regions.models import huggingface

    hf = huggingface.load(folder, dtype=DTYPES[dtype], device=place, device_map=device_map)
    return bridge.wrap(hf, folder=folder, engine="bridge" if engine == "bridge" else "auto")


def _load_fused(folder: Path, dtype: torch.dtype, place: torch.device) -> Model | None:
    """A model for fused sweeps alone; None if its files say anything that is not read here."""
    config = _written_out(folder)
    if config is None:
        return None
    weight_shapes(folder)  # each file is whole
    weights: dict[str, Tensor] = {}
    for path in (folder / name for name in weight_files(folder)):
        # a file is mapped twice: with the last of those that are joined, their mapping goes
        for joined in (True, False):
            with safe_open(path, framework="pt", device=str(place)) as file:
                names = [name for name in file.keys() if joins(name) == joined]  # noqa: SIM118
                weights.update({name: file.get_tensor(name).to(dtype) for name in names})
    fused = regroup(weights, config)
    if fused is None or fused.n_parameters != sum(each.numel() for each in weights.values()):
        return None
    return Model(
        bridge=None,
        folder=folder,
        family=config.model_type,
        dtype=dtype,
        device=place,
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        d_mlp=config.intermediate_size,
        d_head=fused.d_head,
        n_heads=fused.heads,
        n_kv_heads=fused.kv_heads,
        vocab_size=len(fused.head.weight),
        n_parameters=fused.n_parameters,
        gated=True,
        gates=tuple(
            Gate(f"blocks.{layer}.mlp.gate.hook_out", config.intermediate_size)
            for layer in range(config.num_hidden_layers)
        ),
        norm="layer" if config.model_type == "olmo" else "rms",
        window=window(config),
        max_tokens=config.max_position_embeddings,
        tuple_blocks=False,
        fused=fused,
    )


def check_layer(model: Model, layer: int) -> None:
    """Raise `UserError` unless something comes after the write layer `layer`."""
    last = model.n_layers - 1
    if layer == last:
        raise UserError(f"write layer {layer} is the model's last: nothing reads what is written")
    if not 0 <= layer < last:
        raise UserError(f"write layer {layer} is not in 0..{last - 1} ({model.n_layers} layers)")


def placed(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r} cannot be used here ({first_line(error)}); 'cpu' or 'auto' can"
        ) from None


def _written_out(folder: Path) -> "PretrainedConfig | None":
    """The config of a model whose file says all that a sweep needs, and nothing unknown.

    None of any other. It spares the import of transformers, which takes longer than many a job's
    sweeps.
    """
    where = folder / "config.json"
    values = read_object(where) if where.is_file() else {}
    said = {key for key, value in values.items() if value is not None or key in NONE_IS_SAID}
    rotation = values.get("rope_parameters")
    family = str(values.get("model_type"))
    plain = (
        family in FAMILIES
        and said >= (needed := WRITTEN_OUT | FAMILIES[family])
        and values.keys() <= needed | OF_NO_MATTER | BIASES.keys()
        and isinstance(rotation, dict)
        and rotation.keys() == {"rope_type", "rope_theta"}
        and rotation["rope_type"] == "default"
    )
    return cast("PretrainedConfig", SimpleNamespace(**values)) if plain else None


def window(config: "PretrainedConfig") -> int | None:
    """Tokens that a sliding-window layer sees, or None if every layer sees all."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return getattr(config, "sliding_window", None)
