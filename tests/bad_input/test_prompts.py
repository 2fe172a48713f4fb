"""Prompts, words and tokenizers: other scripts work, what a tokenizer can't hold is named."""

import json
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from stable_regions.prompts import draw as prompts
from stable_regions.prompts import words
from stable_regions.prompts.word_list import Kind, WordList
from tests.bad_input import refused
from tests.tiny_study import text, tokenizer

TOKENIZER = tokenizer()

SCRIPTS = {
    "Hebrew": (" \u05e9\u05dc\u05d5\u05dd \u05d0", " \u05e9\u05dc\u05d5\u05dd \u05d1"),
    "Japanese": ("\u65e5\u672c\u8a9e", "\u65e5\u672c\u4eba"),
    "emoji": (" \U0001f600 \U0001f602", " \U0001f600 \U0001f603"),
    "joined emoji": ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f466"),
    "accents set apart": ("e\u0301 x", "e\u0300 x"),
    "a text that turns around": ("\u202e x was", "\u202e x had"),
    "a zero byte": ("\0 x", "\0 y"),
    "line breaks": ("\n\n was", "\n\n had"),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_prompts_in_any_script_work(script: str) -> None:
    table, pairs = prompts.written_pairs({"P": SCRIPTS[script]}, TOKENIZER)
    assert table["text"].tolist() == list(SCRIPTS[script])
    assert [TOKENIZER.decode(ids) for ids in table["tokens"]] == list(SCRIPTS[script])
    assert pairs.to_numpy().tolist() == [["P", 0, 1]]


def split_at_spaces(model: Any, **settings: Any) -> Tokenizer:
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    for name, value in settings.items():
        setattr(made, name, value)
    return made


LETTERS = {letter: number for number, letter in enumerate("abcd")}
SILENT = split_at_spaces(models.BPE(LETTERS, []))
UNKNOWN = split_at_spaces(models.WordLevel(LETTERS | {"[UNK]": 9}, unk_token="[UNK]"))
WITHOUT = split_at_spaces(models.WordLevel(LETTERS, unk_token="[UNK]"))
LOWER = split_at_spaces(models.WordLevel(LETTERS), normalizer=normalizers.Lowercase())

PROMPTS: dict[str, tuple[str, str, Tokenizer, str]] = {
    "other lengths": (
        " caf\u00e9 was", " cafe was", TOKENIZER, "pair P: its prompts have 6 and 5 tokens",
    ),
    "emoji of other lengths": (" \u2603", " \U0001f603", TOKENIZER, "pair P: its prompts have"),
    "empty": ("", " was had", TOKENIZER, "pair P: '' is 0 token(s); at least 2 are needed"),
    "one space": (" ", " was had", TOKENIZER, "pair P: ' ' is 1 token(s)"),
    "a letter that is left out": (
        "a b \u00e9", "a b c", SILENT,
        "pair P: 'a b \u00e9': the tokenizer has no token for '\u00e9'",
    ),
    "a letter among the unknown": (
        "a b \u4eba", "a b c", UNKNOWN, "the tokenizer has no token for '\u4eba'",
    ),
    "a letter that it stumbles on": ("a b \u4eba", "a b c", WITHOUT, "cannot take these texts: "),
    "one prompt in other letters": ("a B", "a b", LOWER, "'a B' and 'a b' are the same tokens"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PROMPTS)
def test_a_wrong_pair_of_prompts(mistake: str) -> None:
    a, b, spoilt, message = PROMPTS[mistake]
    with refused(message):
        prompts.written_pairs({"P": (a, b)}, spoilt)


def word_list(third: str = "mnopqr", context: str = "a b") -> WordList:
    kinds = [
        Kind(name=letters, part_of_speech="noun", words=list(letters))
        for letters in ("abcdef", "ghijkl", third)
    ]
    return WordList(source="s", rule="r", contexts=[context], kinds=kinds)


WORDS = {
    "a context in unknown letters": (
        {"context": "a \u4eba"}, "context 'a \u4eba': the tokenizer has no token for '\u4eba'",
    ),
    "a word in unknown letters": (
        {"third": "mnopq\u4eba"}, "words: ' \u4eba' is 0 tokens in this tokenizer",
    ),
    "two words of one token": (
        {"third": "mnopqA"}, "words: 'A' and 'a' are the same token in this tokenizer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WORDS)
def test_a_wrong_list_of_words(mistake: str) -> None:
    change, message = WORDS[mistake]
    known = {letter: number for number, letter in enumerate("abcdefghijklmnopqr")}
    made = split_at_spaces(models.WordLevel(known | {"[UNK]": 99}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    words.word_prompts(word_list(), made, [])
    with refused(message):
        words.word_prompts(word_list(**change), made, [])


def test_a_tokenizer_that_adds_tokens_and_chance_gives_the_bare_ones(tmp_path: Path) -> None:
    adding = tokenizer()
    token = "\u0120was"
    adding.post_processor = processors.TemplateProcessing(
        f"{token} $A {token}", special_tokens=[(token, adding.token_to_id(token))]
    )
    adding.enable_truncation(3)
    adding.enable_padding(length=40)
    settings = json.loads(adding.to_str())
    settings["model"]["dropout"] = 0.9
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    read = prompts.load_tokenizer(tmp_path)
    assert len(adding.encode(" the dusty book").ids) == 40
    works = pd.DataFrame({"work": ["w"], "text": [text(20)]})
    drawn, bare = (
        prompts.chunk_prompts(works, each, tokens=5, count=10, seed=0) for each in (read, TOKENIZER)
    )
    pd.testing.assert_frame_equal(drawn, bare)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"null", b"[]", b"\xff\xfe", pickle.dumps({}), TOKENIZER.to_str().encode()[:-9]],
)
def test_a_wrong_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with refused("tokenizer.json: not a readable tokenizer ("):
        prompts.load_tokenizer(tmp_path)
