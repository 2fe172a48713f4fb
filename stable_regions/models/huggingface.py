"""The one place that makes a model of transformers: from a folder, or from a config alone.

Importing it takes seconds.
"""

import copy
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from stable_regions.base.errors import UserError, first_line, short
from stable_regions.base.progress import log
from stable_regions.sources.packages import weight_files, weight_shapes

# The plain way through attention and experts. A config.json may ask for another, which may not be
# installed, or not know a dtype.
PLAIN = {"attn_implementation": "eager", "experts_implementation": "eager"}
ONE_STEP = PLAIN | {"attn_implementation": "sdpa"}
# What the names of a decoder's weights begin with inside a model of texts and images.
INSIDE = r"^(?:model\.)?(?:language_model|text_model)\."
# What old files hold beside weights: frequencies, positions, causal masks.
CONSTANT = re.compile(
    r"inv_freq$|position_ids$|(?<=attn\.)bias$|(?<=attention\.)bias$|masked_bias$"
)


def read_config(folder: Path) -> PretrainedConfig:
    """The config of the decoder in a folder; `UserError` if it cannot be run here.

    Of a model of texts and images, it is that of the part which reads and writes text.
    """
    where = (folder / "config.json").resolve()  # of a linked one, the user's own file
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; a Hugging Face model folder is needed")
    try:
        whole = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        config = whole.get_text_config()
    except Exception as error:  # of a wrong value, whatever the code behind it stumbles on
        own = "trust_remote_code" in str(error)
        reason = "the model needs code of its own, which is never run" if own else first_line(error)
        raise UserError(f"{where}: {reason}") from error
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{folder}: {config.model_type!r} is an encoder-decoder; a decoder is needed"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f"{folder}: {config.model_type!r} is no decoder that transformers runs by itself; "
            "a causal language model is needed"
        )
    for part in (whole, config):
        if (quantised := getattr(part, "quantization_config", None)) is not None:
            raise UserError(
                f"{where}: quantization_config: holds {short(quantised)}; weights that are not "
                "quantised are right"
            )
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and longest < 2:
        raise UserError(f"{where}: max_position_embeddings: holds {longest}; at least 2 is right")
    config.architectures = [_kind(config).__name__]
    if config is not whole:  # the two may say different things of a head, and the files a third
        tied = any(getattr(part, "tie_word_embeddings", False) for part in (whole, config))
        config.tie_word_embeddings = tied and not _has_head(folder)
    return config


def _kind(config: PretrainedConfig) -> Any:
    """The class of the decoder that a config is of."""
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _has_head(folder: Path) -> bool:
    """Whether the weights of a folder, if they are there, have a head of their own."""
    if not all((folder / name).is_file() for name in weight_files(folder)):
        return False
    return any(name.endswith("lm_head.weight") for name in weight_shapes(folder))


def initialise(
    config: PretrainedConfig, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> PreTrainedModel:
    """A model with fresh weights, drawn from torch's generator; on "meta" with none."""
    with torch.device(device):
        return AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=False, **PLAIN
        )


def load(
    folder: Path,
    *,
    config: PretrainedConfig | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    device_map: str | None = None,
    plain: bool = True,
) -> PreTrainedModel:
    """The model of a folder, each of its weights in its place.

    Parameters
    ----------
    config
        What `read_config` gives, if it is at hand.
    device, device_map
        Where the weights lie; a map in place of one device.
    plain
        Attention and experts step by step, where hooks can be put; or else torch's own in one step.

    Raises
    ------
    UserError
        If a weight is missing, left over, of another shape, or not finite.
    """
    config = config or read_config(folder)
    shapes = weight_shapes(folder)
    kind = _kind(config)
    names = _renaming(kind.base_model_prefix)
    ways = PLAIN if plain or not kind._supports_sdpa else ONE_STEP
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            **ways,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            key_mapping=names,
            output_loading_info=True,
        )
    except Exception as error:  # whatever the code of its architecture stumbles on
        reason = _misfit(
            config, {_renamed(n, names): shape for n, shape in shapes.items()}
        ) or first_line(error)
        raise UserError(f"{folder}: cannot be loaded: {reason}") from error
    hf, info = loaded
    # transformers fills what the file lacks with random numbers, and only warns
    if absent := sorted(info["missing_keys"]):
        raise UserError(f"{folder}: the weights lack {absent[0]} ({len(absent)} tensors missing)")
    # ... and leaves out what the config does not declare
    _check_left_over(hf, folder, set(info["unexpected_keys"]), shapes, names)
    for name, weight in hf.named_parameters():
        if not torch.isfinite(weight).all():
            raise UserError(f"{folder}: weight {name} holds a number that is not finite")
    if device_map is None:
        hf.to(device)
    return hf.eval().requires_grad_(False)


def parameter_count(hf: nn.Module) -> int:
    """Numbers in a model's parameters, a tied weight once; buffers are not counted."""
    return sum(weight.numel() for weight in hf.parameters())


def layers_of(hf: PreTrainedModel) -> nn.ModuleList | None:
    """The blocks of a decoder: its first list of as many modules as its config counts layers."""
    count = hf.config.get_text_config().num_hidden_layers
    lists = (module for module in hf.modules() if isinstance(module, nn.ModuleList))
    return next((each for each in lists if len(each) == count), None)


def final_norm(hf: PreTrainedModel) -> nn.Module | None:
    """The norm after the last layer: the last outside the layers that is as wide as the stream."""
    width = hf.config.get_text_config().hidden_size
    inside = {id(module) for module in (layers_of(hf) or nn.ModuleList()).modules()}
    norms = [
        module
        for module in hf.modules()
        if id(module) not in inside
        and "norm" in type(module).__name__.lower()
        and all(weight.shape[-1] == width for weight in module.parameters())
    ]
    return norms[-1] if norms else None


@torch.no_grad()
def norm_kind(hf: PreTrainedModel) -> str | None:
    """What the final norm does: "layer" if it takes the mean away, or else "rms"; None without one.

    It is tried, on a copy with plain weights, so a model on "meta" will do.
    """
    own = final_norm(hf)
    if own is None:
        return None
    norm = copy.deepcopy(own).to_empty(device="cpu").float()
    for name, weight in norm.named_parameters():
        weight.fill_(0.0 if name.endswith("bias") else 1.0)
    x = torch.linspace(-1, 1, hf.config.get_text_config().hidden_size).sin()[None]
    return "layer" if torch.allclose(norm(x), norm(x + 3), atol=1e-3) else "rms"


def _renaming(base: str) -> dict[str, str]:
    """What transformers is told of a decoder's names inside a model of texts and images.

    Patterns, and what to write in place of them; `base` is what the decoder itself puts before the
    names of all its weights but the head's.
    """
    return {
        rf"{INSIDE}lm_head\.": "lm_head.",
        rf"{INSIDE}(?:{base}\.)?(?!lm_head\.)": f"{base}.",
    }


def _renamed(name: str, renaming: Mapping[str, str]) -> str:
    """A weight's name in the decoder."""
    for pattern, replacement in renaming.items():
        name = re.sub(pattern, replacement, name)
    return name


def _check_left_over(
    hf: Any,
    folder: Path,
    unexpected: Collection[str],
    shapes: Collection[str],
    renaming: Mapping[str, str],
) -> None:
    """See what becomes of the tensors of a folder that are no weights of the model.

    Old files hold constants that are computed today: those must be what is computed. What
    transformers passes over on purpose belongs to parts that predict no next token, and is named
    in the log; so is what stands beside the decoder in a model of texts and images.
    """
    prefix = f"{hf.base_model_prefix}."
    names = {short for name in hf.state_dict() for short in (name, name.removeprefix(prefix))}
    passed = [*(hf._keys_to_ignore_on_load_unexpected or ()), CONSTANT.pattern]
    whole = any(re.match(INSIDE, name) for name in shapes)
    parts = {name for each in (hf, hf.base_model) for name, _ in each.named_children()}
    left_over = [
        name
        for name in sorted(shapes)
        if {name, _renamed(name, renaming)} & {*unexpected}
        or (
            _renamed(name, renaming) not in names
            and any(re.search(pattern, name) for pattern in passed)
        )
    ]
    others = []
    for path in (folder / name for name in weight_files(folder)) if left_over else ():
        with safe_open(path, framework="pt") as file:
            for name in sorted({*left_over} & {*file.keys()}):
                own = _renamed(name, renaming)
                constant = CONSTANT.search(own)
                if constant and _is_computed(hf, own, file.get_tensor(name)):
                    continue
                of_it = re.match(INSIDE, name) or own.removeprefix(prefix).split(".")[0] in parts
                if (whole and not of_it) or not (constant or {name, own} & {*unexpected}):
                    others.append(name)
                    continue
                raise UserError(f"{folder}: the weights hold {name}{_why(hf, own)}")
    if others:
        log.info(
            "%s: %d tensors are no part of the decoder and are left out, as %s",
            folder, len(others), others[0],
        )  # fmt: skip


def _why(hf: Any, name: str) -> str:
    """What to say of a weight that a model has no place for."""
    if re.sub(r"\.\d+\.", ".0.", name, count=1) in hf.state_dict():
        layers = hf.config.get_text_config().num_hidden_layers
        return f"; config.json says that there are {layers} layers"
    if name.endswith("inv_freq"):
        return ", which are other rotary frequencies than config.json gives: mend one of the two"
    return (
        ", for which the model of config.json has no place: mend config.json, or remove the weight"
    )


def _is_computed(hf: nn.Module, name: str, weight: Tensor) -> bool:
    """Whether a constant is what the model computes: a mask, or frequencies to 16 bits."""
    if name.endswith("inv_freq"):
        ours = [each for key, each in hf.named_buffers() if key.endswith("inv_freq")]
        return any(
            each.shape == weight.shape
            and torch.allclose(each.float().cpu(), weight.float(), rtol=1e-2, atol=1e-7)
            for each in ours
        )
    if name.endswith("position_ids"):
        return torch.equal(weight.flatten(), torch.arange(weight.numel()))
    if weight.ndim < 2:
        return weight.numel() == 1
    causal = torch.ones_like(weight, dtype=torch.bool).tril()
    masks = (each for key, each in hf.named_buffers() if key.endswith(name))  # some see a window
    return torch.equal(weight.bool(), next(masks, causal).bool().cpu())


def _misfit(config: PretrainedConfig, shapes: Mapping[str, list[int]]) -> str | None:
    """The first weight whose shape is not what the config asks for, in words."""
    try:
        expected = initialise(config, device="meta").state_dict()
    except Exception:  # the config alone is wrong: the error that led here says more
        return None
    for name, weight in expected.items():
        if shapes.get(name, list(weight.shape)) != list(weight.shape):
            return f"{name} has the shape {shapes[name]}; config.json asks for {[*weight.shape]}"
    return None
