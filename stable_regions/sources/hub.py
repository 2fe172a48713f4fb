"""Models and texts from the Hugging Face hub, through its own client and cache.

`HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to the
client: what the cache has is not fetched again, and offline it is all there is.
"""

import fnmatch
import glob
import heapq
import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import (
    DryRunFileInfo,
    HfApi,
    constants,
    errors,
    get_cached_repo_tree,
    get_hf_file_metadata,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.utils import tqdm

from stable_regions.base.errors import UserError, first_line
from stable_regions.base.files import link
from stable_regions.base.progress import Progress, log
from stable_regions.sources.packages import (
    ADAPTERS,
    DESCRIPTION,
    INDEX,
    MODEL_FILES,
    NEEDED,
    WEIGHTS,
    first_missing,
    pickle_hint,
    read_source_json,
    weight_shapes,
)

MB = 10**6
T = TypeVar("T")
PATIENCE, LONGEST = 5, 300  # times that the hub may ask to wait, and seconds: it counts by these
ABSENT = (errors.GatedRepoError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError)


def fetch_model(
    repository: str,
    revision: str,
    target: Path,
    *,
    weights: bool = True,
    private_cache: Path | None = None,
) -> str:
    """Make a model folder out of a repository; return the commit that it is of.

    Weights are links into the hub's cache: they lie on the disk once, and other programs share
    them. With `private_cache`, what the cache lacks is downloaded there, a folder that moves into
    `target`: it goes when the folder goes, as a checkpoint that is needed for an hour should.

    Parameters
    ----------
    revision
        A branch, a tag or a commit.
    target
        An empty folder.
    weights
        Without them, the folder has the configuration and the tokenizer alone.
    private_cache
        The folder to download to; what an interrupted call left there is taken up again.

    Raises
    ------
    UserError
        If the repository can't be had, or lacks something that is needed.
    """
    patterns: Sequence[str] = DESCRIPTION
    if weights:
        patterns = (*MODEL_FILES, *ADAPTERS)  # an adapter is refused
    available = {file.filename for file in _listed(repository, revision, patterns) or ()}
    patterns = _one_set(patterns, available, repository)
    missing = private_cache is not None and download_bytes(repository, revision, patterns)
    cache = private_cache if missing else None
    needed = (*WEIGHTS, INDEX, *NEEDED) if weights else NEEDED
    folder = download(repository, revision, patterns, needed=needed, cache=cache)
    if not available:  # offline: another program may have fetched both
        patterns = _one_set(patterns, {path.name for path in folder.iterdir()}, repository)
    if cache is not None:
        inside = folder.relative_to(cache.resolve())
        os.replace(cache, target / ".hub")
        folder = target / ".hub" / inside
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        bring = link if path.suffix == ".safetensors" else shutil.copyfile
        bring(path.resolve(), target / path.name)
    _check_complete(target, folder, repository, weights, cache)
    if weights:
        weight_shapes(target)
    return folder.name


def _one_set(patterns: Sequence[str], available: Collection[str], repository: str) -> Sequence[str]:
    """The patterns without those of shards, of a repository that holds a whole file beside them.

    That is what transformers reads of it too.
    """
    left = sorted(name for name in available if fnmatch.fnmatchcase(name, WEIGHTS[1]))
    if not left or WEIGHTS[0] not in available or WEIGHTS[0] not in patterns:
        return patterns
    log.info(
        "%s: holds two sets of weights; %s is read, as transformers does, and %s is not",
        repository, WEIGHTS[0], left[0],
    )  # fmt: skip
    return [pattern for pattern in patterns if pattern not in (WEIGHTS[1], INDEX)]


def check_hashes(folder: Path) -> None:
    """UserError unless the weights are whole: the hub's cache names a large file by its hash."""
    for name, digest in read_source_json(folder)["files"].items():
        blob = (folder / name).resolve()
        if re.fullmatch("[0-9a-f]{64}", blob.name) and blob.name != digest:
            raise UserError(
                f"{name}: its SHA-256 is {digest}, the hub's {blob.name}; "
                f"delete {blob} to fetch it again"
            )


def absent(
    repository: str, revisions: Sequence[str], *, kind: str = "model", files: Sequence[str] = ()
) -> list[str]:
    """What the hub lacks of a repository, a line each; nothing where it can't be asked.

    Parameters
    ----------
    revisions
        Each must be there, and have what a model needs.
    files
        Patterns of which each must match a file, in place of what a model needs.
    """
    lines, wanted = [], files or NEEDED
    for revision in revisions:
        try:
            names = HfApi().list_repo_files(repository, revision=revision, repo_type=kind)
            # whoever may list a gated repository, and read its description, may not have its files
            for name in fnmatch.filter(names, wanted[0])[:1]:
                url = hf_hub_url(repository, name, revision=revision, repo_type=kind)
                _patiently(partial(get_hf_file_metadata, url))
        except (OSError, ValueError, errors.HTTPError) as error:
            answer = getattr(error, "response", None)
            if isinstance(error, ABSENT) or getattr(answer, "status_code", None) == 401:
                lines.append(f"{repository}: {_reason(error, repository, revision, kind)}")
            continue
        lacking = [each for each in wanted if not fnmatch.filter(names, each)]
        if not files and not {WEIGHTS[0], INDEX} & set(names):
            lacking.append(f"{WEIGHTS[0]}{pickle_hint(names)}")
        if lacking:
            lines.append(f"{repository}: has no {' and no '.join(lacking)} at {revision}")
    return list(dict.fromkeys(lines))


def download(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    *,
    needed: Sequence[str] = (),
    kind: str = "model",
    cache: Path | None = None,
) -> Path:
    """Fetch the files of a repository that match the patterns; return their folder.

    Parameters
    ----------
    needed
        Those that will do where the hub can't be asked and the cache lacks others.
    kind
        "model" or "dataset".
    cache
        A cache folder in place of the hub's.

    Returns
    -------
    The snapshot in the cache; its name is the commit.

    Raises
    ------
    UserError
        One line with the way out, if the repository is gated, missing or out of reach, or has more
        to download than the disk has room for.
    """
    size = download_bytes(repository, revision, patterns, kind=kind, cache=cache)
    if size:
        log.info("%s at %s: %.3g GB to download", repository, revision, size / 1e9)
        place = cache or Path(constants.HF_HUB_CACHE)
        place.mkdir(parents=True, exist_ok=True)
        if size > (free := shutil.disk_usage(place).free):
            raise UserError(
                f"{repository} at {revision}: has {size / 1e9:.3g} GB to download; "
                f"{free / 1e9:.3g} GB are free in {place}"
            )
    fetch = partial(
        snapshot_download, repository, revision=revision, repo_type=kind, cache_dir=cache,
        tqdm_class=_log_progress(repository, size or 0),
    )  # fmt: skip
    with _one_line_errors(repository, revision, kind):
        try:
            folder = _patiently(partial(fetch, allow_patterns=list(patterns)))
        except errors.LocalEntryNotFoundError:
            if not needed or size is not None:  # the hub was there to be asked
                raise
            folder = fetch(allow_patterns=list(needed))
    return Path(folder)


def download_bytes(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    *,
    kind: str = "model",
    cache: Path | None = None,
) -> int | None:
    """Bytes that `download` would fetch; None if the hub can't be asked.

    Raises
    ------
    UserError
        As `download` does, but for a hub that is out of reach.
    """
    files = _listed(repository, revision, patterns, kind=kind, cache=cache)
    if files is None:
        return None
    return sum(file.file_size or 0 for file in files if file.will_download)


def _listed(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    *,
    kind: str = "model",
    cache: Path | None = None,
) -> list[DryRunFileInfo] | None:
    """The files of a repository that match the patterns; None if the hub can't be asked."""
    with _one_line_errors(repository, revision, kind):
        try:
            ask = partial(
                snapshot_download, repository, revision=revision, repo_type=kind, cache_dir=cache,
                dry_run=True, allow_patterns=list(patterns),
                tqdm_class=_log_progress(repository, 0),
            )  # fmt: skip
            return cast(list[DryRunFileInfo], _patiently(ask))
        except errors.DryRunError:
            return None


def read_texts(
    repository: str,
    revision: str,
    *,
    files: Sequence[str],
    column: str,
    works: int,
    draw: str,
    seed: int,
) -> pd.DataFrame:
    """Rows of a data set as works.

    Parameters
    ----------
    files
        Patterns of the Parquet files to read, in order of their names.
    column
        The column that holds the text; rows without text are passed over.
    works
        How many rows.
    draw
        "first": the first rows; "random": drawn without replacement from all rows, in their order.

    Returns
    -------
    One row a work: `work` (the number of its row in the files), `text`.
    """
    folder = download(repository, revision, files, kind="dataset")
    paths = sorted({str(path) for pattern in files for path in folder.glob(pattern)})
    if not paths:
        raise UserError(f"{repository}: no file in it matches {files[0]!r}")
    rows = _rows(paths, column, repository)
    if draw == "random":
        keys = np.random.default_rng(seed)
        smallest = heapq.nsmallest(works, ((keys.random(), *row) for row in rows))
        texts = sorted(row[1:] for row in smallest)
    else:
        texts = list(itertools.islice(rows, works))
    if len(texts) < works:
        raise UserError(f"{repository}: has {len(texts)} works; {works} are asked for")
    table = pd.DataFrame(texts, columns=["work", "text"])
    return table.astype({"work": str})


def _rows(files: list[str], column: str, repository: str) -> Iterator[tuple[int, str]]:
    from datasets import IterableDataset

    try:
        for where in files:
            schema = pq.read_schema(where)
            if column not in schema.names:
                there = ", ".join(schema.names)
                raise UserError(f"{repository}: no column {column!r}; there is {there}")
            column_type = schema.field(column).type
            if not pa.types.is_string(column_type) and not pa.types.is_large_string(column_type):
                raise UserError(
                    f"{repository}: the column {column!r} holds {column_type}, not texts"
                )
        where = str(Path(files[0]).parent)  # which of them is damaged, the reader does not say
        literal = list(map(glob.escape, files))  # it takes paths for patterns
        for number, row in enumerate(IterableDataset.from_parquet(literal, columns=[column])):
            if row[column] and row[column].strip():
                yield number, row[column]
    except UserError:
        raise
    except Exception as error:  # of a damaged file, whatever the reader stumbles on
        raise UserError(
            f"{repository}: {where}: not readable as Parquet ({first_line(error)}); "
            "delete it from the hub's cache to fetch it again"
        ) from None


def _check_complete(
    target: Path, folder: Path, repository: str, weights: bool, cache: Path | None
) -> None:
    if (missing := first_missing(target, weights)) is None:
        return
    try:
        tree = get_cached_repo_tree(repository, revision=folder.name, cache_dir=cache)
        names = {file.path for file in tree}
    except errors.CachedRepoTreeNotFoundError:  # made by an older client
        names = set()
    if missing in names:
        raise UserError(f"{repository}: {missing} is not in the cache {folder}; fetch it online")
    raise UserError(f"{repository}: has no {missing} at {folder.name}{pickle_hint(names)}")


def _patiently(ask: Callable[[], T]) -> T:
    """Ask the hub, and ask again after the time that it says when it has too many requests.

    Its client does so for some of what it asks.
    """
    for _ in range(PATIENCE):
        try:
            return ask()
        except (OSError, errors.HTTPError) as error:
            if (seconds := _asked_to_wait(error)) is None:
                raise
            log.warning("the hub asks to wait: %d s", seconds)  # before a run nothing else is shown
            time.sleep(seconds)
    return ask()


def _asked_to_wait(error: BaseException) -> int | None:
    """Seconds that the hub asks to wait; None if that is not what is wrong."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        if answer is not None and answer.status_code == 429:
            said = answer.headers.get("Retry-After", "")
            return 1 + min(int(said), LONGEST) if said.isdigit() else LONGEST
    return None


def _log_progress(repository: str, size: int) -> type:
    """A progress bar for the hub's client that logs megabytes and draws nothing."""
    progress = Progress(f"download {repository}", size // MB, "MB")

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))
            # one bar of three counts the bytes that are written; the others files and traffic
            self.counts = str(kwargs.get("desc")).startswith("Reconstructing")
            self.bytes = 0

        def update(self, n: float | None = 1) -> None:
            self.bytes += int(n or 0)
            whole = self.bytes // MB - progress.done
            if self.counts and whole > 0:
                progress.advance(whole)

    return Bar


@contextmanager
def _one_line_errors(repository: str, revision: str, kind: str) -> Iterator[None]:
    """Turn an exception of the hub's client into one line that says what to do."""
    try:
        yield
    except (OSError, ValueError, errors.HTTPError) as error:
        raise UserError(f"{repository}: {_reason(error, repository, revision, kind)}") from None


def _reason(error: Exception, repository: str, revision: str, kind: str) -> str:
    log_in = "set HF_TOKEN or run `hf auth login`"
    if isinstance(error, errors.GatedRepoError):
        prefix = "datasets/" if kind == "dataset" else ""
        page = f"{constants.ENDPOINT}/{prefix}{repository}"
        return f"this {kind} is gated; accept its terms on {page}, then {log_in}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no such {kind}, or it is private; check its name, or {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision!r}; its page on the hub lists those it has"
    if constants.is_offline_mode():
        return (
            f"revision {revision!r} is not whole in the cache {constants.HF_HUB_CACHE} and "
            "HF_HUB_OFFLINE is set; unset it, or set HF_HOME to where the cache is"
        )
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__  # type: ignore[assignment]
    if _asked_to_wait(error) is not None:
        return (
            "the hub still asks to wait after so many requests; run again in some minutes, or "
            f"{log_in}: what was fetched is kept"
        )
    message = first_line(error)
    if isinstance(error, errors.HFValidationError) or type(error) is ValueError:
        return message  # the name of the repository, or of a file in it, is no name
    response = getattr(error, "response", None)
    if response is not None and response.status_code == 401:
        return f"the hub refuses the token; {log_in}"
    if isinstance(error, PermissionError):  # another person's cache, on a shared disk
        return f"cannot write {error.filename}: set HF_HOME to a folder of your own"
    if response is None and isinstance(error, OSError) and error.errno:
        return f"cannot be downloaded: {error.strerror}"
    return (
        f"cannot be had from the hub at {constants.ENDPOINT} ({message}); check the network and "
        "HF_ENDPOINT, and run again: what was fetched is kept"
    )
