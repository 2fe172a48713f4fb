"""The shape of a decoder: what its size, its cost and its memory follow from."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from stable_regions.base.errors import UserError, first_line, short
from stable_regions.base.strict import Strict, one_line
from stable_regions.measures.conventions import EMBEDDING

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
KEPT = 4  # bytes of a number that is kept: activations, distances and weights are float32
# One fact has other names in older configs.
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTH = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
MLP = ("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "d_inner")
UNGATED = (
    "apertus", "arcee", "biogpt", "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo",
    "gpt_neox", "gptj", "mpt", "nemotron", "openai-gpt", "opt", "persimmon", "phi", "starcoder2",
    "xglm",
)  # fmt: skip
# Where embedding and head are one matrix unless a config says otherwise.
TIED = (
    "bloom", "cohere", "cohere2", "ernie4_5", "ernie4_5_moe", "falcon", "falcon_mamba", "gemma",
    "gemma2", "gemma3_text", "gemma3n_text", "gemma4_text", "gpt2", "gpt_bigcode", "gpt_neo",
    "jetmoe", "lfm2", "lfm2_moe", "mamba", "mpt", "openai-gpt", "opt", "recurrent_gemma", "smollm3",
    "starcoder2", "vaultgemma", "xglm", "zamba", "zamba2",
)  # fmt: skip
# Of a mixture: experts of a layer, those that a token runs through, the width of one, and the width
# of what every token runs through beside them: as a number, or as a number of experts.
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
USED = ("num_experts_per_tok", "moe_k", "top_k_experts")
EXPERT = ("moe_intermediate_size", "expert_ffn_hidden_size")
SHARED = ("shared_expert_intermediate_size", "shared_intermediate_size")
SHARED_EXPERTS = ("n_shared_experts", "moe_num_shared_experts", "num_shared_experts")
# Layers before the first mixture.
DENSE = ("first_k_dense_replace", "moe_layer_start_index")


class Shape(Strict):
    """What a decoder's blocks and embeddings are like."""

    model_type: str
    """As the config says it, such as `llama`."""
    layers: PositiveInt
    """Blocks."""
    width: PositiveInt
    """Width of the residual stream."""
    heads: PositiveInt
    """Query heads."""
    kv_heads: PositiveInt | None = None
    """Key-value heads; as many as query heads by default."""
    head: PositiveInt | None = None
    """Width of a head; `width / heads` by default."""
    mlp: PositiveInt
    """Hidden units of an MLP."""
    experts: PositiveInt | None = None
    """Experts in a layer of a mixture."""
    experts_used: PositiveInt = 1
    """Experts that a token runs through."""
    expert_mlp: PositiveInt | None = None
    """Hidden units of an expert; as many as `mlp` by default."""
    shared_mlp: NonNegativeInt = 0
    """Hidden units that all tokens run through beside their experts."""
    dense_layers: NonNegativeInt = 0
    """Layers of a mixture that have one MLP of `mlp` hidden units all the same."""
    vocabulary: PositiveInt
    """Tokens."""
    tied: bool = False
    """Whether embedding and head are one matrix."""
    stored: Literal["float32", "bfloat16", "float16"] = "float32"
    """The dtype of the published weights, which a download follows from."""

    @property
    def gated(self) -> bool:
        """Whether a gate stands beside an MLP's up-projection."""
        return self.model_type not in UNGATED

    @property
    def mlp_run(self) -> int:
        """Hidden numbers of MLPs that a token runs through in a block, on average over blocks."""
        if self.experts is None:
            return self.mlp
        mixture = self.experts_used * (self.expert_mlp or self.mlp) + self.shared_mlp
        dense = self.dense_layers * self.mlp
        return (dense + (self.layers - self.dense_layers) * mixture) // self.layers

    @property
    def block_weights(self) -> int:
        """Numbers in the matrices that a token runs through in one block, norms not counted."""
        return self._attention + self._matrices(self.mlp_run)

    @property
    def kept(self) -> int:
        """Bytes of all matrices on the disk."""
        return KEPT * self.weights

    @property
    def head_weights(self) -> int:
        """Numbers in the matrix that makes logits."""
        return self.width * self.vocabulary

    @property
    def weights(self) -> int:
        """Numbers in all matrices; a tied one once, every expert of a mixture."""
        blocks = self.layers * self.block_weights
        if self.experts is not None:
            idle = (self.experts - self.experts_used) * (self.expert_mlp or self.mlp)
            router = self.width * self.experts
            blocks += (self.layers - self.dense_layers) * (self._matrices(idle) + router)
        return blocks + (1 if self.tied else 2) * self.head_weights

    @property
    def _attention(self) -> int:
        head = self.head or self.width // self.heads
        return 2 * self.width * head * (self.heads + (self.kv_heads or self.heads))

    def _matrices(self, hidden: int) -> int:
        return (3 if self.gated else 2) * self.width * hidden

    def peak_memory(self, dtypes: Collection[str], budget: int) -> int:
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


def check_shape(expected: Shape, config: Mapping[str, Any], key: str) -> None:
    """UserError unless a shape that was written down is that of a model's config."""
    actual = shape_of(config)
    fields = ("model_type", "layers", "width", "mlp", "vocabulary", "tied", "block_weights")
    for name in (*fields, "weights"):
        ours, theirs = getattr(expected, name), getattr(actual, name)
        if ours != theirs:
            raise UserError(f"{key}.{name}: holds {ours!r}; the model's config says {theirs!r}")


def check_write_layer(layer: int, layers: int) -> None:
    """UserError unless it is a layer, or the embedding, that something comes after."""
    last = layers - 1
    if layer == last:
        raise UserError(f"write layer {layer} is the model's last: nothing reads what is written")
    if not EMBEDDING <= layer < last:
        raise UserError(
            f"write layer {layer} is not in 0..{last - 1} ({layers} layers; {EMBEDDING} is the "
            "embedding)"
        )


def decoder(config: Mapping[str, Any], where: Any) -> Mapping[str, Any]:
    """The part of a `config.json` that is about the language model: all of it, or `text_config`."""
    part = config.get("text_config", config)
    if not isinstance(part, Mapping):
        raise UserError(f"{where}: text_config: expected a mapping, got {short(part)}")
    return part


def size_of(config: Mapping[str, Any], names: Sequence[str], where: Any) -> int | None:
    """The number under the first of these keys that a model's config has, or None.

    Raises
    ------
    UserError
        If that is no positive whole number.
    """
    values = {name: config[name] for name in names if config.get(name) is not None}
    for name, value in values.items():
        if type(value) is not int or value < 1:
            raise UserError(f"{where}: {name}: holds {short(value)}; expected a positive integer")
    return next(iter(values.values()), None)


def first_of(config: Mapping[str, Any], names: Sequence[str], where: Any = "config.json") -> int:
    """The same of keys of which a model's config must have one."""
    if (value := size_of(config, names, where)) is None:
        raise UserError(f"{where}: has none of {', '.join(names)}")
    return value


def kind_of(config: Mapping[str, Any], where: Any) -> str:
    """The `model_type` that a model's config names."""
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{where}: model_type: holds {short(kind)}; expected a name like 'llama'")
    return kind


def shape_of(config: Mapping[str, Any], where: Any = "config.json") -> Shape:
    """The shape that a Hugging Face `config.json` tells of.

    What it leaves to the library's defaults is the library's, which is imported for that alone.

    Raises
    ------
    UserError
        If it tells of none, with the key that is wrong.
    """
    whole, config = config, _complete_config(config, where)
    tied = whole.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    kind, width = kind_of(config, where), first_of(config, WIDTH, where)
    try:
        return Shape(
            model_type=kind,
            layers=first_of(config, LAYERS, where),
            width=width,
            heads=first_of(config, HEADS, where),
            kv_heads=size_of(config, ["num_key_value_heads"], where),
            head=size_of(config, ["head_dim"], where),
            mlp=size_of(config, MLP, where) or 4 * width,
            **_mixture(config, where),
            vocabulary=first_of(config, ["vocab_size"], where),
            tied=kind in TIED if tied is None else tied,
        )
    except ValidationError as error:
        raise UserError(f"{where}: {one_line(error, config)}") from None


def _complete_config(config: Mapping[str, Any], where: Any) -> Mapping[str, Any]:
    """The decoder's part of a config with the defaults of what it does not say."""
    part = decoder(config, where)
    needed = (LAYERS, WIDTH, HEADS, ("vocab_size",))
    for names in needed:
        size_of(part, names, where)
    if all(part.keys() & names for names in ({"model_type"}, *needed)):
        return part
    try:
        from transformers import CONFIG_MAPPING, AutoConfig  # importing them takes seconds
    except ImportError:
        return part
    if (kind := kind_of(config, where)) not in CONFIG_MAPPING:
        return part
    settings = {key: value for key, value in config.items() if key != "model_type"}
    try:
        default = AutoConfig.for_model(kind, **settings).get_text_config()
    except Exception as error:  # of a wrong value, whatever the code behind it stumbles on
        raise UserError(f"{where}: {first_line(error)}") from None
    return default.to_dict() | {name: getattr(default, name) for name in default.attribute_map}


def _mixture(config: Mapping[str, Any], where: Any) -> dict[str, Any]:
    """What a config tells of experts, as fields of a shape; nothing of a model without them."""
    values = {key: value for key, value in config.items() if value != 0}  # as some write "none"
    experts = size_of(values, EXPERTS, where)
    if experts is None:
        return {}
    layers = first_of(config, LAYERS, where)
    width = size_of(values, EXPERT, where) or first_of(config, MLP, where)
    shared = size_of(values, SHARED, where) or width * (size_of(values, SHARED_EXPERTS, where) or 0)
    first = size_of(values, DENSE, where) or 0
    step = values.get("decoder_sparse_step") or values.get("moe_layer_interval") or 1
    dense = {n for n in range(layers) if n < first or (n - first + 1) % step}
    dense |= {*(values.get("mlp_only_layers") or ())}
    return {
        "experts": experts,
        "experts_used": size_of(values, USED, where) or 1,
        "expert_mlp": width,
        "shared_mlp": shared,
        "dense_layers": len(dense),
    }
