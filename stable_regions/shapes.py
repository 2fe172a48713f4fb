"""The shape of a decoder: what its size, its cost and its memory follow from."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import PositiveInt, ValidationError

from stable_regions.errors import UserError, short
from stable_regions.strict import Strict, one_line

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# One fact has other names in the configs of GPT-2's time.
LAYERS = ("num_hidden_layers", "n_layer")
WIDTH = ("hidden_size", "n_embd")
HEADS = ("num_attention_heads", "n_head")
UNGATED = ("gpt2", "gptj", "gpt_neox", "phi", "opt", "falcon", "starcoder2")


class Shape(Strict):
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


def decoder(config: Mapping[str, Any], where: Any) -> Mapping[str, Any]:
    """The part of a `config.json` that is about the language model: all of it, or `text_config`."""
    part = config.get("text_config", config)
    if not isinstance(part, Mapping):
        raise UserError(f"{where}: text_config: holds {short(part)}; keys and values are right")
    return part


def size_of(config: Mapping[str, Any], names: Sequence[str], where: Any) -> int | None:
    """The number under the first of these keys that a model's config has, or None.

    Raises
    ------
    UserError
        If that is no positive whole number.
    """
    held = {name: config[name] for name in names if config.get(name) is not None}
    for name, value in held.items():
        if type(value) is not int or value < 1:
            raise UserError(
                f"{where}: {name}: holds {short(value)}; a positive whole number is right"
            )
    return next(iter(held.values()), None)


def first_of(config: Mapping[str, Any], names: Sequence[str], where: Any = "config.json") -> int:
    """The same of keys of which a model's config must have one."""
    if (value := size_of(config, names, where)) is None:
        raise UserError(f"{where}: has none of {', '.join(names)}")
    return value


def kind_of(config: Mapping[str, Any], where: Any) -> str:
    """The `model_type` that a model's config names."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{where}: model_type: holds {short(kind)}; a name like 'llama' is right")
    return kind


def shape_of(config: Mapping[str, Any], where: Any = "config.json") -> Shape:
    """The shape that a Hugging Face `config.json` tells of.

    Raises
    ------
    UserError
        If it tells of none, with the key that is wrong.
    """
    config = decoder(config, where)
    kind, width = kind_of(config, where), first_of(config, WIDTH, where)
    try:
        return Shape(
            model_type=kind,
            layers=first_of(config, LAYERS, where),
            width=width,
            heads=first_of(config, HEADS, where),
            kv_heads=size_of(config, ["num_key_value_heads"], where),
            head=size_of(config, ["head_dim"], where),
            mlp=size_of(config, ["intermediate_size", "n_inner"], where) or 4 * width,
            vocabulary=first_of(config, ["vocab_size"], where),
            tied=config.get("tie_word_embeddings", kind == "gpt2"),
        )
    except ValidationError as error:
        raise UserError(f"{where}: {one_line(error, config)}") from None
