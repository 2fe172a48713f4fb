"""A model that can be measured: loaded, with its tokenizer, and checked where it is used."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from stable_regions.base.errors import UserError
from stable_regions.front.files import DEFAULT, ModelFiles, open_files
from stable_regions.models.check import Check, check
from stable_regions.models.load import load_model
from stable_regions.models.model import Model

BUDGET_MB = 512


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model with its tokenizer.

    Attributes
    ----------
    files
        Its folder, its tokenizer, the tokens of texts.
    model
        What the library's own functions take.
    budget
        Bytes for the activations of one batch, beside the weights.
    checks
        The load check at each write layer that was used, on the first prompts it was used on.
    """

    files: ModelFiles
    model: Model
    budget: int
    checks: dict[int, Check] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        model = self.model
        dtype = str(model.dtype).removeprefix("torch.")
        return (
            f"{self.files.name}: {model.family}, {model.n_layers} layers, {model.d_model} wide, "
            f"{model.n_parameters / 1e6:.4g} M parameters, {dtype} on {model.device.type}"
        )

    def verdict(self, tokens: Int[Tensor, "n seq"], layer: int) -> str:
        """Check the model at a write layer, if it was not yet; say in a line how that ended.

        Parameters
        ----------
        tokens
            Prompts to check on. One alone is held against itself with another last token.

        Raises
        ------
        UserError
            Its sweeps differ from clean runs or from plain patching.
        """
        if layer not in self.checks:
            if len(tokens) == 1:
                other = (tokens[:, -1:] + 1) % self.model.vocab_size
                tokens = torch.cat([tokens, torch.cat([tokens[:, :-1], other], dim=1)])
            found = check(self.model, tokens[:4], layer, budget=self.budget)
            if found.verdict != "passed":
                raise UserError(f"{self.files.name}: the load check failed: {found.verdict}")
            self.checks[layer] = found
        found = self.checks[layer]
        largest = max(*found.self_patch_error.values(), *found.sweep_error.values())
        said = (
            f"passed: sweeps equal clean runs and plain patching to {largest:.0e} "
            f"({found.tolerance:.0e} is allowed)"
        )
        if max(found.token.values()) > found.tolerance:
            said += "; later layers read the token again, beside the residual stream"
        return said


def load(
    model: str = DEFAULT,
    *,
    bos: bool = False,
    dtype: str = "float32",
    device: str = "auto",
    threads: int | None = None,
    memory_budget_mb: int = BUDGET_MB,
) -> LanguageModel:
    """Load a causal language model; the first time, it is fetched and converted.

    Parameters
    ----------
    model
        A folder with `config.json`, safetensors and `tokenizer.json`; a GGUF file; a model of
        `config.yaml`, such as the one that comes in a package; `owner/name` on the hub, or
        `owner/name@revision`.
    bos
        Put the tokenizer's BOS token before each text, which the paper does not.
    dtype
        "float32", "float64" or "bfloat16".
    device
        "auto" (a GPU if there is one), "cpu", "cuda:1", ...
    threads
        CPU threads; torch's own number by default.
    memory_budget_mb
        For the activations of one batch, beside the weights.

    Raises
    ------
    UserError
        In one line: there is no such model, or it cannot be measured.
    """
    return load_files(
        open_files(model, bos=bos), dtype=dtype, device=device, threads=threads,
        memory_budget_mb=memory_budget_mb,
    )  # fmt: skip


def load_files(
    files: ModelFiles,
    *,
    dtype: str = "float32",
    device: str = "auto",
    threads: int | None = None,
    memory_budget_mb: int = BUDGET_MB,
) -> LanguageModel:
    """Load the model of files that were found; see `load`."""
    loaded = load_model(
        files.folder, dtype=dtype, device=device, threads=threads or torch.get_num_threads()
    )
    return LanguageModel(files, loaded, memory_budget_mb * 2**20)
