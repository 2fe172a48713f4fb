"""Prompts and pairs: lengths, sources, seeds, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from stable_regions.base.errors import UserError
from stable_regions.prompts import draw as prompts
from stable_regions.prompts.word_list import Kind, WordList
from stable_regions.prompts.words import only_single, word_prompts
from tests.tiny_study import text, tokenizer

TOKENIZER = tokenizer()
WORKS = pd.DataFrame({"work": ["one", "two"], "text": [text(60), text(30)[5:]]})


def draw(count: int = 20, seed: int = 0) -> pd.DataFrame:
    return prompts.chunk_prompts(WORKS, TOKENIZER, tokens=10, count=count, seed=seed)


def test_chunks_have_the_length_and_the_text_they_say() -> None:
    table = draw()
    works = WORKS.set_index("work")["text"]
    for row in table.itertuples():
        assert len(row.tokens) == 10
        assert works[row.work][row.offset :].startswith(row.text)
        assert row.text.endswith(row.last_token)
        assert TOKENIZER.decode(row.tokens) == row.text


def test_chunks_are_drawn_without_replacement_from_all_works() -> None:
    table = draw(60)
    assert not table.duplicated(["work", "offset"]).any()
    assert set(table["work"]) == {"one", "two"}


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    """Only those that the prompts have, and whatever else its file says."""
    said = json.loads(TOKENIZER.to_str())
    words = said["model"]["vocab"]
    files = {"drawn": TOKENIZER.to_str(), "same": json.dumps(said | {"truncation": None})}
    words["\u0120the"], words["\u0120of"] = words["\u0120of"], words["\u0120the"]
    files["other"] = json.dumps(said)
    for name, content in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(content)
    drawn, same, other = (tmp_path / name for name in files)
    tokens = [ids for ids in draw()["tokens"] if words["\u0120the"] in ids]
    assert tokens
    prompts.check_tokens(tokens, drawn, same)
    with pytest.raises(UserError, match=f"{other}: its token [0-9]+ is 'Ġ.*, and 'Ġ.*delete that"):
        prompts.check_tokens(tokens, drawn, other)
    prompts.check_tokens([[0, 1]], drawn, other)


def test_the_seed_decides() -> None:
    pd.testing.assert_frame_equal(draw(), draw())
    assert (draw()["offset"] != draw(seed=1)["offset"]).any()


def test_a_short_corpus_is_refused() -> None:
    with pytest.raises(UserError, match=r"\d+ chunks of 10 tokens.* 100000"):
        draw(100_000)


def test_neighbours_are_pairs() -> None:
    pairs = prompts.neighbour_pairs(draw(5))
    assert pairs["prompt_a"].tolist() == [0, 1, 2, 3]
    assert pairs["prompt_b"].tolist() == [1, 2, 3, 4]


def test_written_pairs_share_their_prompts() -> None:
    table, pairs = prompts.written_pairs(
        {"P": (" was very", " was in"), "Q": (" was in", " was he")}, TOKENIZER
    )
    assert table["text"].tolist() == [" was very", " was in", " was he"]
    assert pairs.to_numpy().tolist() == [["P", 0, 1], ["Q", 1, 2]]


def test_a_pair_of_different_lengths_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="pair odd: .*2 and 3 tokens"):
        prompts.written_pairs({"odd": (" was very", " was very very")}, TOKENIZER)


LETTERS = "abcdefghijklmnop"
SPACE = prompts.SPACE


def spaced(kind: str) -> Tokenizer:
    """A tokenizer as SentencePiece writes it: a letter is one token, with its space or without."""
    pieces = [SPACE, *LETTERS, *(SPACE + letter for letter in LETTERS)]
    if kind.startswith("unigram"):
        scores = [(piece, -1.0 * len(piece)) for piece in pieces]
        made = Tokenizer(models.Unigram([("?", -99.0), *scores], 0))
    else:
        merges = [(SPACE, letter) for letter in LETTERS]
        made = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, merges))
    if kind == "llama 2":
        made.normalizer = normalizers.Sequence(
            [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
        )
        made.decoder = decoders.Sequence(
            [decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        scheme = kind.partition(" ")[2]
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return made


SPACED = pytest.mark.parametrize(
    "kind",
    ["llama 2", *(f"{model} {scheme}" for model in ("bpe", "unigram") for scheme in
                  ("always", "first", "never"))],
)  # fmt: skip


@SPACED
def test_a_label_tells_a_token_with_its_space_from_one_without(kind: str) -> None:
    tokenizer = spaced(kind)
    works = pd.DataFrame({"work": ["w"], "text": ["a b ab ba c ac ca " * 4]})
    table = prompts.chunk_prompts(works, tokenizer, tokens=2, count=20, seed=0)
    pieces = [tokenizer.id_to_token(ids[-1]).replace(SPACE, " ") for ids in table["tokens"]]
    assert {"a", " a"} < set(pieces)
    assert table["last_token"].tolist() == pieces
    for message, ids in zip(table["text"], table["tokens"], strict=True):
        assert message == "".join(map(tokenizer.id_to_token, ids)).replace(SPACE, " ")


def test_labels_of_a_byte_level_tokenizer_are_its_tokens_alone() -> None:
    for token in range(TOKENIZER.get_vocab_size()):
        alone = TOKENIZER.decode([token], skip_special_tokens=False)
        assert prompts.token_text(TOKENIZER, token) == alone


@SPACED
def test_words_are_what_they_are_inside_a_text(kind: str) -> None:
    tokenizer = spaced(kind)
    kinds = [
        Kind(name=name, part_of_speech=name, words=[*some, "ab"])
        for name, some in {"n": LETTERS[:6], "m": LETTERS[6:12]}.items()
    ]
    listed = WordList(source="s", rule="r", contexts=["o p", "po"], kinds=kinds)
    with pytest.raises(UserError, match="' ab' .*2 tokens"):
        word_prompts(listed, tokenizer, [])
    table = word_prompts(only_single(listed, tokenizer), tokenizer, [])
    assert len(table) == 24
    for row in table.itertuples():
        assert row.tokens == tokenizer.encode(row.text).ids
        assert tokenizer.id_to_token(row.tokens[-1]) == SPACE + row.word


@pytest.mark.parametrize("short", ["", " was"])
def test_a_prompt_without_a_prefix_is_refused(short: str) -> None:
    with pytest.raises(UserError, match="at least 2 are needed"):
        prompts.written_pairs({"P": (short, " was very")}, TOKENIZER)


def test_groups_by_length_hold_everything_once() -> None:
    tokens = [[1, 2], [3, 4, 5], [6, 7]]
    (first, pairs), (second, triples) = prompts.by_length(tokens)
    assert first.tolist() == [0, 2]
    assert second.tolist() == [1]
    np.testing.assert_array_equal(pairs, [[1, 2], [6, 7]])
    np.testing.assert_array_equal(triples, [[3, 4, 5]])


def test_a_folder_without_tokenizer_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="tokenizer.json"):
        prompts.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer.json: "):
        prompts.load_tokenizer(tmp_path)


def test_crossed_prompts_share_what_they_say() -> None:
    table, pairs = prompts.crossed_pairs(WORKS, TOKENIZER, tokens=6, crossings=4, seed=0)
    assert (len(table), len(pairs)) == (16, 12)
    ids = dict(zip(table["prompt"], table["tokens"], strict=True))
    for _, pair in pairs.iterrows():
        a, b = ids[pair["prompt_a"]], ids[pair["prompt_b"]]
        kind = pair["pair"].split("-")[0]
        assert (a[:-1] != b[:-1]) == (kind in ("context", "both"))
        assert (a[-1] != b[-1]) == (kind in ("token", "both"))
    by_crossing = pairs.groupby(pairs["pair"].str.split("-").str[1])["prompt_a"]
    assert (by_crossing.nunique() == 1).all()
    assert (table["text"] == [TOKENIZER.decode(i) for i in table["tokens"]]).all()


def test_crossed_prompts_follow_the_seed_and_refuse_a_short_corpus() -> None:
    def drawn(seed: int) -> list:
        return prompts.crossed_pairs(WORKS, TOKENIZER, tokens=6, crossings=4, seed=seed)[0][
            "tokens"
        ].tolist()

    assert drawn(0) == drawn(0) != drawn(1)
    with pytest.raises(UserError, match="6 tokens.* 99999"):
        prompts.crossed_pairs(WORKS, TOKENIZER, tokens=6, crossings=99_999, seed=0)


@pytest.mark.parametrize("named", ["\u0120was", {"content": "\u0120was", "lstrip": False}])
def test_the_bos_token_is_the_tokenizer_s(tmp_path, named) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": named}))
    assert [prompts.bos_token(tmp_path, TOKENIZER)] == TOKENIZER.encode(" was").ids


@pytest.mark.parametrize("settings", [{}, {"bos_token": None}, {"bos_token": "<none>"}, None])
def test_a_tokenizer_without_bos_token_is_named(tmp_path, settings) -> None:
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="tokenizer_config.json: .*BOS"):
        prompts.bos_token(tmp_path, TOKENIZER)
