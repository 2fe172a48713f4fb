"""The list of words: what a good one gives, and one line for each kind of bad one."""

from pathlib import Path

import pytest
import yaml

from stable_regions.errors import UserError
from stable_regions.words import context_tokens, load_words, log_frequency, word_table

LIST = Path(__file__).parents[1] / "config" / "words.yaml"
LETTERS = list("abcdefghijklmnop")


class Tokenizer:
    """A token a word, but for those with a z, which take one a letter."""

    def __init__(self):
        self.vocabulary = {}

    def encode(self, text, *, add_special_tokens):
        assert not add_special_tokens
        pieces = [p for word in text.split() for p in (word if "z" in word else [word])]
        return [self.vocabulary.setdefault(piece, len(self.vocabulary)) for piece in pieces]


def made(tmp_path, **change):
    kinds = [
        {"name": "one", "part_of_speech": "noun", "words": LETTERS[:6]},
        {"name": "two", "part_of_speech": "verb", "words": LETTERS[6:12]},
    ]
    content = {"source": "s", "rule": "r", "contexts": [" x y", " y x"], "kinds": kinds}
    path = tmp_path / "words.yaml"
    path.write_text(yaml.safe_dump({**content, **change}))
    return path


def kinds_with(**change):
    first = {"name": "one", "part_of_speech": "noun", "words": LETTERS[:6]}
    second = {"name": "two", "part_of_speech": "verb", "words": LETTERS[6:12]}
    return [first, {**second, **change}]


def test_the_list_of_this_repository():
    words = load_words(LIST)
    assert 300 <= sum(len(kind.words) for kind in words.kinds) <= 400
    assert len(words.contexts) >= 5
    assert 12 <= len(words.kinds) <= 20
    assert "on" in words.kinds[-2].words
    assert len({kind.part_of_speech for kind in words.kinds}) < len(words.kinds)


def test_table_and_contexts(tmp_path):
    words = load_words(made(tmp_path))
    tokenizer = Tokenizer()
    table = word_table(words, tokenizer)
    assert list(table["word"]) == LETTERS[:12]
    assert list(table["kind"]) == ["one"] * 6 + ["two"] * 6
    assert set(table.loc[table["kind"] == "two", "part_of_speech"]) == {"verb"}
    assert table["token"].is_unique
    first, second = context_tokens(words, tokenizer)
    assert first == second[::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sauce": "s"}, "sauce: Extra inputs are not permitted"),
        ({"kinds": kinds_with(colour="red")}, r"kinds\.1\.colour: Extra inputs"),
        ({"rule": None}, "rule: Input should be a valid string"),
        ({"contexts": []}, "contexts: List should have at least 1 item"),
        ({"contexts": [" x", " x"]}, "the context ' x' is there twice"),
        ({"kinds": kinds_with(name="one")}, "the kind 'one' is there twice"),
        ({"kinds": kinds_with(words=LETTERS[5:12])}, "the word 'f' is there twice"),
        ({"kinds": kinds_with(words=LETTERS[6:8])}, r"kinds\.1\.words: .* at least 6 items"),
        ({"kinds": kinds_with(words=[True, *LETTERS[6:12]])}, r"words\.0: .* it holds 'True'"),
    ],
)
def test_bad_list_is_one_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as error:
        load_words(made(tmp_path, **change))
    assert "\n" not in str(error.value)
    assert "words.yaml" in str(error.value)


def test_file_that_is_not_yaml_is_one_line(tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text("kinds: [a\nb: c")
    with pytest.raises(UserError, match="not YAML") as error:
        load_words(path)
    assert "\n" not in str(error.value)


def test_word_of_two_tokens(tmp_path):
    words = load_words(made(tmp_path, kinds=kinds_with(words=[*LETTERS[6:12], "zz", "zzz"])))
    with pytest.raises(UserError, match=r"' zz' is 2 tokens in this tokenizer \(and 1 more\)"):
        word_table(words, Tokenizer())


def test_log_frequency_counts_whole_words():
    counts = log_frequency(["the", "May"], ["The the, theme the.", "may May's"])
    assert counts == pytest.approx([1.0986, 0.6931], abs=1e-4)
