"""The one place that loads a model: a local Hugging Face folder becomes a `TransformerBridge`."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.model_bridge.sources.transformers import determine_architecture_from_hf_config
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from stable_regions.errors import UserError, first_line, short
from stable_regions.fused import Fused, regroup
from stable_regions.sources import weight_shapes

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Model:
    """A loaded model, and the facts about it that a measurement needs.

    Attributes
    ----------
    bridge
        The model behind TransformerLens hooks. Give it token ids, never text: it prepends no BOS.
    family
        `model_type` of its config, such as "llama".
    n_parameters
        Numbers in its weights, a tied weight counted once.
    gated
        Whether its MLPs have a gate beside the up-projection.
    norm
        Kind of the final norm: "rms" or "layer".
    window
        Tokens that a sliding-window layer sees, or None if every layer sees all.
    max_tokens
        Longest prompt that it has positions for.
    tuple_blocks
        Whether its blocks hand on a tuple in place of the bare residual stream.
    fused
        Its weights regrouped for the fast engine, or None if sweeps go through the bridge.
    """

    bridge: TransformerBridge
    folder: Path
    family: str
    dtype: torch.dtype
    device: torch.device
    n_layers: int
    d_model: int
    vocab_size: int
    n_parameters: int
    gated: bool
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
        "auto" (the fused engine where it was seen to equal plain patching, on a trial run here), or
        "bridge".
    threads
        CPU threads for torch; part of what makes two runs give the same bytes.

    Raises
    ------
    UserError
        The folder, its weights, the dtype or the architecture cannot be used.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is unknown; one of {', '.join(DTYPES)}")
    if engine not in {"auto", "bridge"}:
        raise UserError(f"engine {engine!r} is unknown; one of auto, bridge")
    torch.set_num_threads(threads)
    place = _place(device)
    config = _read_config(folder)
    hf = _read_weights(folder, config, DTYPES[dtype], device_map)
    if device_map is None:
        hf.to(place)
    return wrap(hf, folder=folder, engine=engine)


def wrap(hf: Any, *, folder: Path, engine: str = "auto") -> Model:
    """Put a Hugging Face model behind hooks, and learn what a measurement needs of it."""
    config = hf.config
    weight = next(hf.parameters())
    spread = len(set(getattr(hf, "hf_device_map", {}).values())) > 1
    n_parameters = sum(each.numel() for each in hf.parameters())
    try:
        architecture = determine_architecture_from_hf_config(config)
        bridge = build_bridge_from_module(hf, architecture, hf_config=config)
        tuple_blocks = _probe(bridge, weight.device)
    except Exception as error:
        raise UserError(f"{folder}: {_unfit(config)}: {first_line(error)}") from error
    cfg = bridge.cfg
    model = Model(
        bridge=bridge,
        folder=folder,
        family=config.model_type,
        dtype=weight.dtype,
        device=weight.device,
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        vocab_size=hf.get_output_embeddings().weight.shape[0],
        n_parameters=n_parameters,
        gated=bool(cfg.gated_mlp),
        norm="rms" if bridge.ln_final.uses_rms_norm else "layer",
        window=_window(config),
        max_tokens=getattr(config, "max_position_embeddings", None) or cfg.n_ctx,
        tuple_blocks=tuple_blocks,
        fused=regroup(hf) if engine == "auto" and cfg.n_layers > 1 and not spread else None,
    )
    return model if model.fused is None or _fused_agrees(model) else replace(model, fused=None)


def check_layer(model: Model, layer: int) -> None:
    """Raise `UserError` unless something comes after the write layer `layer`."""
    last = model.n_layers - 1
    if layer == last:
        raise UserError(f"write layer {layer} is the model's last: nothing reads what is written")
    if not 0 <= layer < last:
        raise UserError(f"write layer {layer} is not in 0..{last - 1} ({model.n_layers} layers)")


def _place(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r} cannot be used here ({first_line(error)}); 'cpu' or 'auto' can"
        ) from None


def _unfit(config: PretrainedConfig) -> str:
    return f"model type {config.model_type!r} cannot be hooked by TransformerLens"


def _read_config(folder: Path) -> PretrainedConfig:
    where = f"{folder}/config.json"
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; a Hugging Face model folder is needed")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of a wrong value, whatever the code behind it stumbles on
        own = "trust_remote_code" in str(error)
        reason = "the model needs code of its own, which is never run" if own else first_line(error)
        raise UserError(f"{where}: {reason}") from error
    config = config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{folder}: {config.model_type!r} is an encoder-decoder; a decoder is needed"
        )
    if (quantised := getattr(config, "quantization_config", None)) is not None:
        raise UserError(
            f"{where}: quantization_config: holds {short(quantised)}; weights that are not "
            "quantised are right"
        )
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and longest < 2:
        raise UserError(f"{where}: max_position_embeddings: holds {longest}; at least 2 is right")
    return config


def _read_weights(
    folder: Path, config: PretrainedConfig, dtype: torch.dtype, device_map: str | None
) -> Any:
    shapes = weight_shapes(folder)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # whatever the code of its architecture stumbles on
        reason = _misfit(config, shapes) or first_line(error)
        raise UserError(f"{folder}: cannot be loaded: {reason}") from error
    hf, info = loaded
    # transformers fills what the file lacks with random numbers, and only warns
    if absent := sorted(info["missing_keys"]):
        raise UserError(f"{folder}: the weights lack {absent[0]} ({len(absent)} tensors missing)")
    # ... and leaves out the blocks that the config does not count
    known = set(hf.state_dict())
    for name in sorted(info["unexpected_keys"]):
        if re.sub(r"\.\d+\.", ".0.", name, count=1) in known:
            raise UserError(
                f"{folder}: the weights hold {name}; config.json says that there are "
                f"{config.num_hidden_layers} layers"
            )
    for name, weight in hf.named_parameters():
        if not torch.isfinite(weight).all():
            raise UserError(f"{folder}: weight {name} holds a number that is not finite")
    return hf.eval().requires_grad_(False)


def _misfit(config: PretrainedConfig, shapes: dict[str, list[int]]) -> str | None:
    """The first weight whose shape is not what the config asks for, in words."""
    try:
        with torch.device("meta"):
            wanted = AutoModelForCausalLM.from_config(config).state_dict()
    except Exception:  # the config alone is wrong: the error that led here says more
        return None
    for name, weight in wanted.items():
        if shapes.get(name, list(weight.shape)) != list(weight.shape):
            return f"{name} has the shape {shapes[name]}; config.json asks for {[*weight.shape]}"
    return None


@torch.no_grad()
def _probe(bridge: TransformerBridge, device: torch.device) -> bool:
    """Run one token; return whether a block hands on a tuple."""
    if not all("attn" in block.submodules for block in bridge.blocks):
        raise TypeError("it has layers without attention")
    if not hasattr(bridge, "ln_final"):
        raise TypeError("it has no final norm")
    handed: list[type] = []
    handle = bridge.blocks[0].register_forward_hook(lambda _, __, out: handed.append(type(out)))
    bridge(torch.zeros(1, 1, dtype=torch.long, device=device), return_type=None)
    handle.remove()
    return issubclass(handed[0], tuple)


def _fused_agrees(model: Model) -> bool:
    """Try the fused engine against plain patching on two random prompts."""
    from stable_regions.engine import check  # it needs this module: a circle at import otherwise

    seq = min(8, model.max_tokens, model.window or 8)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, model.vocab_size, (2, seq), generator=generator)
    return check(model, prompts, 0, budget=2**40).verdict == "passed"


def _window(config: PretrainedConfig) -> int | None:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return getattr(config, "sliding_window", None)
