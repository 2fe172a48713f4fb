"""Loading a model: a local Hugging Face folder becomes one that can be swept."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from stable_regions.base.errors import UserError, first_line
from stable_regions.base.files import read_object
from stable_regions.base.progress import log
from stable_regions.models.check import TOLERANCE, check, relative_error
from stable_regions.models.fused import (
    BIASES,
    EXPLICIT_NULLS,
    FAMILIES,
    IGNORED_KEYS,
    REQUIRED_KEYS,
    is_concatenated,
    regroup,
)
from stable_regions.models.model import DTYPES, Gate, Model
from stable_regions.models.shapes import UNGATED
from stable_regions.sources.packages import weight_files, weight_shapes

ENGINES = ("auto", "bridge", "decode", "fused")
# Kinds of layers that do not see the whole prompt, and what configs call the part that they see.
WINDOWS = {
    "sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
    "local": "window_size",
}

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Unfit(UserError):
    """A model that TransformerLens cannot put behind hooks."""


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
        "auto" (the fused engine where it is seen to equal plain patching, on a trial run here,
        or else through TransformerLens, or else by decoding), "bridge", "decode", or "fused"
        (without hooks or trial: for one that was tried when its activations were cached).
    threads
        CPU threads for torch; part of what makes two runs give the same bytes.

    Raises
    ------
    UserError
        The folder, its weights, the dtype or the architecture cannot be used.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} is unknown; one of {', '.join(DTYPES)}")
    if engine not in ENGINES:
        raise UserError(f"engine {engine!r} is unknown; one of {', '.join(ENGINES)}")
    torch.set_num_threads(threads)
    place = placed(device)
    if engine == "fused" and (model := _load_fused(folder, DTYPES[dtype], place)):
        return model
    from stable_regions.models import huggingface  # importing it takes seconds

    load = partial(
        huggingface.load, folder, dtype=DTYPES[dtype], device=place, device_map=device_map
    )
    if engine == "decode":
        return wrap_native(load(), folder=folder)
    try:
        model = wrap(load(), folder=folder, engine="auto" if engine == "fused" else engine)
        if engine == "bridge" or model.fused is not None or _agrees(model):
            return model
        unfit = "its sweeps differ from plain patching"
    except Unfit as error:
        if engine == "bridge":
            raise
        unfit = str(error)
    # hooks have been put into the model that was loaded
    log.info("%s: %s; sweeps decode", folder, unfit)
    return wrap_native(load(), folder=folder)


def _load_fused(folder: Path, dtype: torch.dtype, place: torch.device) -> Model | None:
    """A model for fused sweeps alone; None if its files say anything that is not read here."""
    config = _complete_config(folder)
    if config is None:
        return None
    weight_shapes(folder)  # each file is whole
    weights: dict[str, Tensor] = {}
    for path in (folder / name for name in weight_files(folder)):
        # a file is mapped twice: with the last of those that are joined, their mapping goes
        for joined in (True, False):
            with safe_open(path, framework="pt", device=str(place)) as file:
                names = [name for name in file.keys() if is_concatenated(name) == joined]  # noqa: SIM118
                weights.update({name: file.get_tensor(name).to(dtype) for name in names})
    fused = regroup(weights, config)
    if fused is None or fused.n_parameters != sum(each.numel() for each in weights.values()):
        return None
    return Model(
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
        norm=FAMILIES[config.model_type].norm,
        window=window(config),
        max_tokens=config.max_position_embeddings,
        fused=fused,
        adds_up=True,
    )


def wrap(hf: Any, *, folder: Path, engine: str = "auto") -> Model:
    """Put a Hugging Face model behind hooks, and learn what a measurement needs of it."""
    from stable_regions.models import huggingface  # importing these takes seconds
    from stable_regions.models.hooked import hook

    config = hf.config
    weight = next(hf.parameters())
    spread = len(set(getattr(hf, "hf_device_map", {}).values())) > 1
    # before there are hooks: by their own names, and without what the hooks add
    parameters = dict(hf.named_parameters())
    norm = huggingface.norm_kind(hf)
    unfit = f"model type {config.model_type!r} cannot be hooked by TransformerLens"
    longest = getattr(config, "max_position_embeddings", None) or 8
    vocab_size = hf.get_output_embeddings().weight.shape[0]
    tokens = _tokens(vocab_size, min(8, longest)).to(weight.device)
    try:
        with torch.no_grad():
            alone = hf(tokens, use_cache=False).logits[:, -1]
        hooks = hook(hf)
        hooked = hooks.clean(tokens, ["logits"])["logits"]
    except Exception as error:  # whatever the code of TransformerLens stumbles on
        raise Unfit(f"{folder}: {unfit}: {first_line(error)}") from error
    # such as by a key of its config that its own code does not read
    if (change := relative_error(hooked, alone)) > TOLERANCE[weight.dtype]:
        raise Unfit(f"{folder}: {unfit}: its outputs differ by {change:.1e} then")
    cfg: Any = hooks.bridge.cfg
    fusible = engine == "auto" and cfg.n_layers > 1 and not spread
    model = Model(
        folder=folder,
        family=config.model_type,
        dtype=weight.dtype,
        device=weight.device,
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        d_mlp=cfg.d_mlp,
        d_head=cfg.d_head,
        n_heads=cfg.n_heads,
        n_kv_heads=cfg.n_key_value_heads or cfg.n_heads,
        vocab_size=vocab_size,
        n_parameters=sum(each.numel() for each in parameters.values()),
        gated=bool(cfg.gated_mlp),
        gates=hooks.gates,
        norm=norm or "none",
        window=window(config),
        max_tokens=getattr(config, "max_position_embeddings", None) or cfg.n_ctx,
        hooks=hooks,
        fused=regroup(parameters, config) if fusible else None,
        adds_up=hooks.adds_up,
    )
    return model if model.fused is None or _agrees(model) else replace(model, fused=None)


def wrap_native(hf: Any, *, folder: Path) -> Model:
    """Take a Hugging Face model as it is; `UserError` if it cannot decode."""
    from stable_regions.models import huggingface  # importing these takes seconds
    from stable_regions.models.native import native

    config = hf.config.get_text_config()
    weight = next(hf.parameters())
    try:
        hooks = native(hf)
    except Exception as error:  # whatever the code of its architecture stumbles on
        unfit = f"model type {config.model_type!r} cannot be run"
        if not isinstance(error, TypeError):  # which `native` raises
            unfit += f" in {str(weight.dtype).removeprefix('torch.')}"
        raise UserError(f"{folder}: {unfit}: {first_line(error)}") from error
    heads = getattr(config, "num_attention_heads", None) or 1
    widths = [gate.width for gate in hooks.gates if gate is not None]
    return Model(
        folder=folder,
        family=config.model_type,
        dtype=weight.dtype,
        device=weight.device,
        n_layers=len(hooks.layers),
        d_model=config.hidden_size,
        d_mlp=max(widths, default=getattr(config, "intermediate_size", None) or config.hidden_size),
        d_head=getattr(config, "head_dim", None) or config.hidden_size // heads,
        n_heads=heads,
        n_kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        vocab_size=hf.get_output_embeddings().weight.shape[0],
        n_parameters=huggingface.parameter_count(hf),
        gated=config.model_type not in UNGATED,
        gates=hooks.gates,
        norm=huggingface.norm_kind(hf) or "none",
        window=window(config),
        max_tokens=getattr(config, "max_position_embeddings", None) or 2**20,
        hooks=hooks,
        decodes=True,
    )


def _agrees(model: Model) -> bool:
    """Try a model's sweeps against plain patching, on two random prompts."""
    if model.n_layers < 2:
        return True
    prompts = _tokens(model.vocab_size, min(8, model.max_tokens, model.window or 8))
    try:
        verdict = check(model, prompts, 0, budget=2**40).verdict
    except UserError:
        return False
    return verdict in ("passed", "an output is not finite")  # which the load check will say


def _tokens(vocab_size: int, count: int) -> Tensor:
    """Two random prompts."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, vocab_size, (2, count), generator=generator)


def placed(device: str) -> torch.device:
    """The device that a name stands for; `UserError` if it cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r} cannot be used here ({first_line(error)}); 'cpu' or 'auto' can"
        ) from None


def _complete_config(folder: Path) -> "PretrainedConfig | None":
    """The config of a model whose file says all that a sweep needs, and nothing unknown.

    None of any other. It spares the import of transformers, which takes longer than many a job's
    sweeps.
    """
    where = folder / "config.json"
    values = read_object(where) if where.is_file() else {}
    explicit = {key for key, value in values.items() if value is not None or key in EXPLICIT_NULLS}
    rotation = values.get("rope_parameters")
    family = str(values.get("model_type"))
    plain = (
        family in FAMILIES
        and explicit >= (needed := REQUIRED_KEYS | FAMILIES[family].needs)
        and values.keys() <= needed | IGNORED_KEYS | BIASES.keys()
        and _rotates_by_default(rotation, FAMILIES[family].rotation_of_kind, values)
    )
    return cast("PretrainedConfig", SimpleNamespace(**values)) if plain else None


def _rotates_by_default(rotation: Any, of_kind: bool, config: dict[str, Any]) -> bool:
    if not of_kind:
        return _is_default(rotation)
    kinds = {*config["layer_types"]}
    return (
        isinstance(rotation, dict)
        and {*rotation} >= kinds
        and all(_is_default(rotation[kind]) for kind in kinds)
    )


def _is_default(rotation: Any) -> bool:
    return (
        isinstance(rotation, dict)
        and rotation.keys() - {"partial_rotary_factor"} == {"rope_type", "rope_theta"}
        and rotation["rope_type"] == "default"
    )


def window(config: "PretrainedConfig") -> int | None:
    """Tokens that a layer with a window sees, or None if every layer sees all."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if kinds is not None and not {*kinds} & WINDOWS.keys():
        return None
    if kinds is None:
        return getattr(config, "sliding_window", None)
    sizes = [getattr(config, name, None) for kind, name in WINDOWS.items() if kind in kinds]
    return min(filter(None, sizes), default=None)
