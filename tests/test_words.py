"""The list of words: what a good one gives, and one line for each kind of bad one."""

import math
from pathlib import Path

import pytest
import yaml
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from stable_regions.base.errors import UserError
from stable_regions.prompts.word_list import load_words
from stable_regions.prompts.words import log_frequency, only_single, word_prompts

LIST = Path(__file__).parents[1] / "config" / "words.yaml"
LETTERS = list("abcdefghijklmnop")


def tokenizer():
    """A token a letter with its leading space; a z after the first letter is another token."""
    letters = {f" {letter}": number for number, letter in enumerate([*LETTERS, *"xyz"])}
    made = Tokenizer(models.WordLevel({**letters, "z": 90, "?": 91}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(" [a-z]|z"), "isolated")
    return made


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


def test_prompts_are_each_word_after_each_context(tmp_path):
    table = word_prompts(load_words(made(tmp_path)), tokenizer(), ["a a b"])
    assert list(table["word"]) == LETTERS[:12] * 2
    assert list(table["kind"][:12]) == ["one"] * 6 + ["two"] * 6
    assert set(table.loc[table["kind"] == "two", "part_of_speech"]) == {"verb"}
    assert list(table["context"]) == [0] * 12 + [1] * 12
    assert list(table["prompt"]) == list(range(24))
    assert table["text"][13] == " y x b"
    assert table["tokens"][13] == [17, 16, 1]
    assert table["log_frequency"][:3].tolist() == pytest.approx([math.log(3), math.log(2), 0])
    few = word_prompts(load_words(made(tmp_path)), tokenizer(), [], contexts=1, words_per_kind=2)
    assert list(few["word"]) == ["a", "b", "g", "h"]


def test_more_contexts_than_there_are_is_one_line(tmp_path):
    with pytest.raises(UserError, match="3 contexts .*2"):
        word_prompts(load_words(made(tmp_path)), tokenizer(), [], contexts=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sauce": "s"}, "sauce: unknown key, holds 's'; did you mean 'source'?"),
        ({"kinds": kinds_with(colour="red")}, r"kinds\.1\.colour: unknown key"),
        ({"rule": None}, "rule: holds None; input should be a valid string"),
        ({"contexts": []}, r"contexts: holds \[\]; list should have at least 1 item"),
        ({"contexts": [" x", " x"]}, "context ' x'"),
        ({"kinds": kinds_with(name="one")}, "kind 'one'"),
        ({"kinds": kinds_with(words=LETTERS[5:12])}, "word 'f'"),
        ({"kinds": kinds_with(words=LETTERS[6:8])}, r"kinds\.1\.words: .* at least 6 items"),
        ({"kinds": kinds_with(words=[True, *LETTERS[6:12]])}, r"words\.0: holds True; "),
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


def test_word_of_two_tokens_is_refused_or_left_out(tmp_path):
    words = load_words(made(tmp_path, kinds=kinds_with(words=[*LETTERS[6:12], "zz", "zzz"])))
    with pytest.raises(UserError, match=r"' zz' .*2 tokens.*1 more"):
        word_prompts(words, tokenizer(), [])
    left = only_single(words, tokenizer())
    assert [kind.words for kind in left.kinds] == [LETTERS[:6], LETTERS[6:12]]


def test_kind_left_with_few_words_goes(tmp_path):
    words = load_words(made(tmp_path, kinds=kinds_with(words=[*LETTERS[6:11], "zz"])))
    with pytest.raises(UserError, match="1 of 2 kinds .*6 words"):
        only_single(words, tokenizer())


def test_log_frequency_counts_whole_words():
    counts = log_frequency(["the", "May"], ["The the, theme the.", "may May's"])
    assert counts == pytest.approx([1.0986, 0.6931], abs=1e-4)
