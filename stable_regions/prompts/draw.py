"""Prompts and pairs of prompts: token ids, text, and where each came from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Encoding, Tokenizer

from stable_regions.base.errors import UserError, first_line
from stable_regions.base.files import read_object

SPACE = "\u2581"  # what some tokenizers write for one
Tokens = Sequence[int] | np.ndarray  # of one prompt: a list, or an array as a Parquet file gives it
COLUMNS = ["prompt", "text", "tokens", "last_token", "work", "offset"]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder; UserError if there is none or it can't be read."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"{path}: no such file; a model folder needs a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(f"{path}: not a readable tokenizer ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):  # of merges, in training: tokens left to chance
        tokenizer.model.dropout = None
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> list[Encoding]:
    """Tokens of texts, without those that the tokenizer adds by itself.

    Raises
    ------
    UserError
        If it has no token for something in them, and none for what is unknown.
    """
    try:
        return tokenizer.encode_batch(list(texts), add_special_tokens=False)
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(f"the tokenizer cannot take these texts: {first_line(error)}") from None


def lost_text(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> str | None:
    """The first character of a text that its tokens do not give back; spaces do not count.

    Some tokenizers leave out what they don't know, others have one token for all of it.
    """
    normalized = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    back = tokenizer.decode(list(ids), skip_special_tokens=False)
    return next((c for c in normalized if c not in back and not c.isspace() and c != SPACE), None)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """What a token says inside a text: of a text's first, some tokenizers drop the space."""
    alone, twice = (
        tokenizer.decode([token] * times, skip_special_tokens=False) for times in (1, 2)
    )
    return twice[len(alone) :] if twice.startswith(alone) else alone


def bos_token(folder: Path, tokenizer: Tokenizer) -> int:
    """The id of the BOS token that a model folder's `tokenizer_config.json` names.

    Raises
    ------
    UserError
        If it names none, or the tokenizer has no such token.
    """
    path = folder / "tokenizer_config.json"
    token = read_object(path).get("bos_token") if path.exists() else None
    text = token.get("content") if isinstance(token, dict) else token
    token_id = tokenizer.token_to_id(text) if isinstance(text, str) else None
    if token_id is None:
        raise UserError(f"{path}: names no BOS token of the tokenizer; `bos` can't be set")
    return token_id


def check_tokens(tokens: Iterable[Tokens], drawn: Path, own: Path) -> None:
    """UserError unless prompts are the same text to a model's own tokenizer.

    A revision of a model on a hub may have another than the one that its prompts were drawn with:
    one tokenizer is fetched for all revisions, and a name like `main` moves.

    Parameters
    ----------
    drawn, own
        The folders of the tokenizer that they were drawn with, and of the model.
    """
    one, other = (folder / "tokenizer.json" for folder in (drawn, own))
    if one.read_bytes() == other.read_bytes():  # to read a large one takes a second
        return
    theirs, ours = load_tokenizer(drawn), load_tokenizer(own)
    for token in sorted({int(token) for prompt in tokens for token in prompt}):
        before, now = theirs.id_to_token(token), ours.id_to_token(token)
        if before != now:
            raise UserError(
                f"{own}: its token {token} is {now!r}, and {before!r} in {drawn}, with which its "
                "prompts were drawn: if the revision has moved on the hub, delete that folder and "
                "run again; if it has another tokenizer, give it an entry of its own"
            )


def chunk_prompts(
    works: pd.DataFrame, tokenizer: Tokenizer, *, tokens: int, count: int, seed: int
) -> pd.DataFrame:
    """Draw chunks of a corpus as prompts (paper, section 3: random pairs).

    Every work is cut into consecutive chunks of `tokens` tokens, without a BOS token; `count`
    of all these chunks are drawn without replacement.

    Parameters
    ----------
    works
        One row a work: `work`, `text`.

    Returns
    -------
    One row a prompt: `prompt` (number), `text`, `tokens` (ids), `last_token` (its text), `work`,
    `offset` (of the first character in the work's text).

    Raises
    ------
    UserError
        If the corpus has fewer chunks than `count`.
    """
    chunks = list(islice(_chunks(works, tokenizer, tokens=tokens, seed=seed), count))
    if len(chunks) < count:
        raise UserError(
            f"the corpus has {len(chunks)} chunks of {tokens} tokens; {count} prompts are asked for"
        )
    rows = [
        (number, *_texts(tokenizer, ids), work, offset)
        for number, (ids, work, offset) in enumerate(chunks)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _chunks(
    works: pd.DataFrame, tokenizer: Tokenizer, *, tokens: int, seed: int
) -> Iterator[tuple[list[int], str, int]]:
    """All chunks of a corpus in random order: ids, work, offset of the first character."""
    # each read of an encoding's attribute copies the whole of it
    every = [
        (work, encoding.ids, encoding.offsets)
        for work, encoding in zip(works["work"], encode(tokenizer, works["text"]), strict=True)
    ]
    chunks = [(n, at) for n, (_, ids, _) in enumerate(every) for at in range(len(ids) // tokens)]
    for index in np.random.default_rng(seed).permutation(len(chunks)):
        number, at = chunks[index]
        work, ids, offsets = every[number]
        first = at * tokens
        yield ids[first : first + tokens], work, offsets[first][0]


def _texts(tokenizer: Tokenizer, ids: list[int]) -> tuple[str, list[int], str]:
    """Text of a prompt, its ids, and the text of its last token."""
    first, text, longer = (
        tokenizer.decode(each, skip_special_tokens=False) for each in (ids[:1], ids, ids[:1] + ids)
    )
    # what the first says inside a text too: see `token_text`
    inside = longer[len(first) :] if longer.startswith(first) else text
    text = inside if inside.endswith(text) else text
    return text, ids, token_text(tokenizer, ids[-1])


def neighbour_pairs(prompts: pd.DataFrame) -> pd.DataFrame:
    """Pair i is (prompt i, prompt i + 1), as in the authors' code.

    Returns
    -------
    One row a pair: `pair` (its name), `prompt_a`, `prompt_b` (numbers of prompts).
    """
    numbers = prompts["prompt"].to_numpy()
    return pd.DataFrame(
        {
            "pair": [str(i) for i in range(len(numbers) - 1)],
            "prompt_a": numbers[:-1],
            "prompt_b": numbers[1:],
        }
    )


def crossed_pairs(
    works: pd.DataFrame, tokenizer: Tokenizer, *, tokens: int, crossings: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cross two contexts with two last tokens: what does a pair share, and what follows from it?

    Chunks of the corpus are drawn two by two; those with the same last token or the same context
    are passed over. Two chunks (context c, token t) and (context d, token u) give the four prompts
    ct, dt, cu, du and three pairs that start at ct: with dt (`context-N`: only the context
    differs), with cu (`token-N`: only the last token does) and with du (`both-N`). So the three
    kinds of pairs are made of the same material, and share the context in which outputs are taken.

    Returns
    -------
    Tables of prompts and of pairs, as `chunk_prompts` and `neighbour_pairs` give them. `work` and
    `offset` are those of the context.

    Raises
    ------
    UserError
        If the corpus has too few chunks.
    """
    chunks = _chunks(works, tokenizer, tokens=tokens, seed=seed)
    prompts: list[tuple] = []
    pairs: list[tuple] = []
    for (c, *c_from), (d, *d_from) in zip(chunks, chunks, strict=False):
        if c[-1] == d[-1] or c[:-1] == d[:-1]:
            continue
        crossing, first = len(prompts) // 4, len(prompts)
        if crossing == crossings:
            break
        crossed = [(c, c_from), (d[:-1] + c[-1:], d_from), (c[:-1] + d[-1:], c_from), (d, d_from)]
        for number, (ids, origin) in enumerate(crossed, first):
            prompts.append((number, *_texts(tokenizer, ids), *origin))
        for other, differs in enumerate(("context", "token", "both"), 1):
            pairs.append((f"{differs}-{crossing}", first, first + other))
    if len(prompts) < 4 * crossings:
        raise UserError(
            f"the corpus gives {len(prompts) // 4} crossings of {tokens} tokens; "
            f"{crossings} are asked for"
        )
    table = pd.DataFrame(pairs, columns=["pair", "prompt_a", "prompt_b"])
    return pd.DataFrame(prompts, columns=COLUMNS), table


def recurring_prompts(
    works: pd.DataFrame,
    tokenizer: Tokenizer,
    *,
    tokens: int,
    last_tokens: int,
    each: int,
    seed: int,
) -> pd.DataFrame:
    """Draw chunks that end in one of the corpus's most common last tokens, as many of each.

    A chunk that was drawn before is passed over.

    Returns
    -------
    One row a prompt as `chunk_prompts` gives it, in order of the last token's id.

    Raises
    ------
    UserError
        If fewer than `last_tokens` tokens end `each` different chunks.
    """
    chunks_of: dict[int, dict[tuple[int, ...], tuple]] = {}
    for ids, *origin in _chunks(works, tokenizer, tokens=tokens, seed=seed):
        chunks_of.setdefault(ids[-1], {}).setdefault(tuple(ids), (ids, origin))
    common = sorted(chunks_of, key=lambda token: (-len(chunks_of[token]), token))[:last_tokens]
    enough = [token for token in common if len(chunks_of[token]) >= each]
    if len(enough) < last_tokens:
        raise UserError(
            f"the corpus has {len(enough)} tokens that end {each} chunks of {tokens} tokens; "
            f"{last_tokens} are asked for"
        )
    chunks = [
        chunk for token in sorted(enough) for chunk in islice(chunks_of[token].values(), each)
    ]
    rows = [
        (number, *_texts(tokenizer, ids), *origin) for number, (ids, origin) in enumerate(chunks)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def all_pairs(prompts: pd.DataFrame) -> pd.DataFrame:
    """Every two prompts of one `context` (of all, if the table has no such column), i before j."""
    numbers = prompts["prompt"].to_numpy()
    context = prompts["context"] if "context" in prompts else np.zeros(len(prompts))
    i, j = np.triu_indices(len(numbers), 1)
    same = np.asarray(context)[i] == np.asarray(context)[j]
    i, j = numbers[i[same]], numbers[j[same]]
    names = [f"{a}-{b}" for a, b in zip(i, j, strict=True)]
    return pd.DataFrame({"pair": names, "prompt_a": i, "prompt_b": j})


def written_pairs(
    pairs: Mapping[str, tuple[str, str]], tokenizer: Tokenizer
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prompts and pairs out of texts written by hand; a text that recurs is one prompt.

    Raises
    ------
    UserError
        If a text is empty or a single token, or holds what the tokenizer has no token for, or if
        the two of a pair differ in their number of tokens, or do not differ at all.
    """
    texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
    encoded = encode(tokenizer, texts)
    ids = {text: encoding.ids for text, encoding in zip(texts, encoded, strict=True)}
    for name, (a, b) in pairs.items():
        for text in (a, b):
            if (unknown := lost_text(tokenizer, text, ids[text])) is not None:
                raise UserError(
                    f"pair {name}: {text!r}: the tokenizer has no token for {unknown!r}"
                )
            if len(ids[text]) < 2:
                raise UserError(
                    f"pair {name}: {text!r} is {len(ids[text])} token(s); at least 2 are needed"
                )
        if len(ids[a]) != len(ids[b]):
            raise UserError(
                f"pair {name}: its prompts have {len(ids[a])} and {len(ids[b])} tokens; "
                "they must be of one length"
            )
        if ids[a] == ids[b]:
            raise UserError(f"pair {name}: {a!r} and {b!r} are the same tokens; they must differ")
    number = {text: i for i, text in enumerate(texts)}
    prompts = pd.DataFrame(
        [(number[t], *_texts(tokenizer, ids[t]), "written by hand", 0) for t in texts],
        columns=COLUMNS,
    )
    table = pd.DataFrame(
        [(name, number[a], number[b]) for name, (a, b) in pairs.items()],
        columns=["pair", "prompt_a", "prompt_b"],
    )
    return prompts, table


def by_length(tokens: Sequence[Tokens]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group token lists by their length.

    Returns
    -------
    For each length, from short to long: the indices of the lists, and their tokens `[list, token]`.
    """
    lengths = np.array([len(ids) for ids in tokens])
    groups = (np.flatnonzero(lengths == length) for length in np.unique(lengths))
    return [(some, np.array([tokens[int(i)] for i in some], dtype=np.int64)) for some in groups]
