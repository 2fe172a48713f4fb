"""The shape of a decoder: what its size, its cost and its memory follow from."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt

from stable_regions.errors import UserError

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# One fact has other names in the configs of GPT-2's time.
LAYERS = ("num_hidden_layers", "n_layer")
WIDTH = ("hidden_size", "n_embd")
HEADS = ("num_attention_heads", "n_head")
UNGATED = ("gpt2", "gptj", "gpt_neox", "phi", "opt", "falcon", "starcoder2")


class Shape(BaseModel):
    """What a decoder's blocks and embeddings are like.

    Attributes
    ----------
    heads, kv_heads, head
        Query heads, key-value heads (as many, if not given), and numbers in one (`width / heads`).
    model_type
        As the config says it, such as "llama".
    mlp
        Hidden numbers of an MLP.
    tied
        Whether embedding and head are one matrix.
    stored
        The dtype of the published weights: what a download takes.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model_type: str
    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt | None = None
    head: PositiveInt | None = None
    mlp: PositiveInt
    vocabulary: PositiveInt
    tied: bool = False
    stored: Literal["float32", "bfloat16", "float16"] = "float32"

    @property
    def gated(self) -> bool:
        """Whether a gate stands beside an MLP's up-projection."""
        return self.model_type not in UNGATED

    @property
    def block_weights(self) -> int:
        """Numbers in the matrices of one block, norms and biases not counted."""
        head = self.head or self.width // self.heads
        attention = 2 * self.width * head * (self.heads + (self.kv_heads or self.heads))
        return attention + (3 if self.gated else 2) * self.width * self.mlp

    @property
    def head_weights(self) -> int:
        """Numbers in the matrix that makes logits."""
        return self.width * self.vocabulary

    @property
    def weights(self) -> int:
        """Numbers in all matrices; a tied one once."""
        return self.layers * self.block_weights + (1 if self.tied else 2) * self.head_weights

    def held(self, dtypes: Collection[str], budget: int) -> int:
        """Bytes that a job holds beside its libraries: the weights in each dtype, and batches.

        While one batch of `budget` bytes is worked on, what is kept of the one before still lies.
        """
        return sum(self.weights * BYTES[dtype] for dtype in dtypes) + 2 * budget

    def operations(self, layer: int, *, logits: bool) -> int:
        """Floating-point operations of one point written after `layer` and read at the end.

        A multiplication and an addition for each weight after the write layer; attention to a
        prefix of ten tokens is below a hundredth of that, and left out.
        """
        run = (self.layers - 1 - layer) * self.block_weights
        return 2 * (run + (self.head_weights if logits else 0))


def check_shape(told: Shape, config: Mapping[str, Any], key: str) -> None:
    """UserError unless a shape that was written down is that of a model's config."""
    found = shape_of(config)
    for name in ("model_type", "layers", "width", "mlp", "vocabulary", "tied", "block_weights"):
        ours, theirs = getattr(told, name), getattr(found, name)
        if ours != theirs:
            raise UserError(f"{key}.{name}: holds {ours!r}; the model's config says {theirs!r}")


def first_of(config: Mapping[str, Any], names: Sequence[str], where: Any = "config.json") -> int:
    """The number under the first of these keys that a model's config has; UserError without one."""
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    raise UserError(f"{where}: has none of {', '.join(names)}")


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The shape that a Hugging Face `config.json` tells of."""
    config = config.get("text_config", config)
    kind, width = config["model_type"], first_of(config, WIDTH)
    return Shape(
        model_type=kind,
        layers=first_of(config, LAYERS),
        width=width,
        heads=first_of(config, HEADS),
        kv_heads=config.get("num_key_value_heads"),
        head=config.get("head_dim"),
        mlp=config.get("intermediate_size") or config.get("n_inner") or 4 * width,
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", kind == "gpt2"),
    )
