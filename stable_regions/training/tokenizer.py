"""A byte-level BPE tokenizer trained here, and texts as one stream of its tokens."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from stable_regions.base.errors import UserError
from stable_regions.base.files import atomic

END_OF_TEXT = "<|endoftext|>"
BYTES = 256


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE of `vocab_size` tokens, one of them `<|endoftext|>`. Adds no token by itself.

    Raises
    ------
    UserError
        If `vocab_size` is too small to hold every byte, or larger than the texts give.
    """
    least = BYTES + 1
    if vocab_size < least:
        raise UserError(f"vocab_size: holds {vocab_size}; must be at least {least}, for every byte")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise UserError(
            f"vocab_size: holds {vocab_size}; the texts give {tokenizer.get_vocab_size()} at most"
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write a tokenizer as the Hugging Face folder that `AutoTokenizer` loads."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    with atomic(folder) as target:
        wrapped.save_pretrained(target)


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Int32[np.ndarray, " tokens"]:
    """The texts as one stream of token ids, with `<|endoftext|>` after each."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return np.concatenate([np.array([*text.ids, end], dtype=np.int32) for text in encoded])
