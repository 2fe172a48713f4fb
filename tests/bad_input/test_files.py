"""Packages, corpora, the hub and raw files."""

import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from stable_regions.audit import records
from stable_regions.audit.verify import raw_of_models
from stable_regions.base import files
from stable_regions.base.errors import UserError
from stable_regions.sources import corpora, hub
from stable_regions.sources import packages as sources
from tests.bad_input import refused
from tests.hub_stand_in import Repository, serve, visited
from tests.test_sources import sdist, wheel

# Packages, corpora and the hub.


def database(*rows: tuple) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (work, text)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    connection.commit()
    return connection.serialize()


def package(name: str, *files: tuple[str, bytes], share: float = 1) -> Callable[[Path], Path]:
    """Makes a wheel or an sdist of some files, or a share of one."""

    def made(folder: Path) -> Path:
        path = (wheel if name.endswith("whl") else sdist)(folder / name, dict(files))
        os.truncate(path, int(path.stat().st_size * share))
        return path

    return made


def linked(folder: Path) -> Path:
    (folder / "x.txt").symlink_to(__file__)
    return folder


def all_members(path: Path) -> Any:
    return list(sources.members(path, ["*"]))


def texts(path: Path) -> Any:
    return corpora.read_package(path, ["*.txt"])


def rows(path: Path) -> Any:
    return corpora.read_package(path, ["*.db"], "SELECT work, text FROM t")


Read = Callable[[Path], Any]
PACKAGES: dict[str, tuple[Callable[[Path], Path], Read, str]] = {
    "a wheel that is cut": (
        package("p.whl", ("x", b"text"), share=0.5), all_members,
        "p.whl | File is not a zip file",
    ),
    "an sdist that is cut": (
        package("p.tar.gz", ("x", b"text"), share=0.5), all_members,
        "p.tar.gz: | sdist",
    ),
    "two models for one": (
        package("p.whl", ("a/x.gguf", b"1"), ("b/x.gguf", b"2")),
        lambda path: sources.member(path, "*.gguf"),
        "p.whl | '*.gguf' | 'a/x.gguf' | 'b/x.gguf'",
    ),
    "a picture for a text": (
        package("p.whl", ("x.txt", b"\x89PNG\0\xff")), texts,
        "p.whl | 'x'",
    ),
    "a query of nothing": (
        package("p.whl", ("x.db", database())), rows, "p.whl | no works",
    ),
    "a query of no texts": (
        package("p.whl", ("x.db", database(("w", None)))), rows,
        "p.whl | x.db | None | 'w'",
    ),
    "a database that is none": (
        package("p.whl", ("x.db", b"no database" * 99)), rows,
        "p.whl | x.db | file is not a database",
    ),
    "a folder without texts": (lambda folder: folder, corpora.read_local, "*.txt"),
    "a text of this machine": (
        linked, corpora.read_local, "x.txt | link",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PACKAGES)
def test_a_wrong_package_or_corpus(tmp_path: Path, mistake: str) -> None:
    made, read, message = PACKAGES[mistake]
    with refused(message):
        read(made(tmp_path))


def test_names_in_an_archive_become_no_paths(tmp_path: Path) -> None:
    names = ["../outside.txt", "/outside.txt", "a/../../outside.txt"]
    made_wheel = wheel(tmp_path / "p.whl", dict.fromkeys(names, b"text"))
    assert texts(made_wheel)["text"].tolist() == ["text"] * 3
    link = tarfile.TarInfo("pkg-1.0/link.txt")
    link.type, link.linkname = tarfile.SYMTYPE, __file__
    with tarfile.open(tmp_path / "p.tar.gz", "w:gz") as made:
        made.addfile(link)
    with refused("p.tar.gz | '*'"):
        all_members(tmp_path / "p.tar.gz")
    assert sorted(os.listdir(tmp_path)) == ["p.tar.gz", "p.whl"]


@pytest.mark.hub
@pytest.mark.parametrize("name", ["../../../x.parquet", "/x.parquet", "data/../../x.parquet"])
def test_the_hub_cannot_name_files_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(Repository, "listed_name", lambda repository, path: name)
    with serve() as running, visited(running.url, tmp_path / "cache"):
        running.repositories["me/data"] = Repository({"main": tmp_path / "r"})
        with refused("me/data: Invalid filename "):
            hub.download("me/data", "main", ["*.parquet"], kind="dataset")
        assert running.asked == []


NOT_TEXTS = {
    "numbers": ([1, 2], 1.0, "me/data | 'TEXT' | int64"),
    "half a file": (["a", "b"], 0.5, "x.parquet | Parquet"),
}


@pytest.mark.hub
@pytest.mark.parametrize("mistake", NOT_TEXTS)
def test_wrong_texts_on_the_hub(tmp_path: Path, mistake: str) -> None:
    texts, share, message = NOT_TEXTS[mistake]
    path = tmp_path / "r" / "x.parquet"
    path.parent.mkdir()
    pd.DataFrame({"TEXT": texts}).to_parquet(path)
    os.truncate(path, int(path.stat().st_size * share))
    with serve() as running, visited(running.url, tmp_path / "cache"):
        running.repositories["me/data"] = Repository({"main": tmp_path / "r"})
        with refused(message):
            hub.read_texts(
                "me/data", "main", files=["*.parquet"], column="TEXT", works=1, draw="first", seed=0
            )


# Raw files: cut, with other bytes, or of noise.

few = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    table = pd.DataFrame({"pair": ["a", "b"] * 9, "distance": [np.arange(4.0)] * 18})
    files.write_parquet(folder / "x.parquet", table, {"alpha": [0, 1], "units": "\u00e9"})
    arrays = {"x": np.arange(9.0), "y": np.ones((2, 3), np.float32)}
    files.write_arrays(folder / "x.safetensors", arrays, {"layer": 0})
    files.write_json(folder / "x.json", {"a": [1, {"b": None}], "c": "\u00e9"})
    return folder


def read_arrays(path: Path) -> Any:
    return files.read_safetensors(path, "numpy")


READERS = [
    ("x.parquet", files.read_parquet),
    ("x.parquet", records.facts_of),
    ("x.safetensors", read_arrays),
    ("x.safetensors", records.facts_of),
    ("x.safetensors", files.read_header),
    ("x.json", files.read_json),
]


@pytest.mark.parametrize(("name", "read"), READERS)
@few
@given(data=st.data())
def test_a_raw_file_that_is_cut_is_never_read(
    raw_files: Path, name: str, read: Callable, data: Any
) -> None:
    content = (raw_files / name).read_bytes().rstrip()  # a line break ends JSON
    path = raw_files / f"cut-{name}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with refused(f"{path}: not a "):
        read(path)


@pytest.mark.parametrize(("name", "read"), READERS)
@few
@given(content=st.binary(max_size=200))
def test_a_raw_file_of_noise_is_never_read(
    raw_files: Path, name: str, read: Callable, content: bytes
) -> None:
    path = raw_files / f"noise-{name}"
    path.write_bytes(b"\xff" + content)
    with refused(f"{path}: not a "):
        read(path)


@pytest.mark.parametrize(("name", "read"), READERS)
@few
@given(data=st.data())
def test_a_raw_file_with_other_bytes_is_read_or_named(
    raw_files: Path, name: str, read: Callable, data: Any
) -> None:
    """Values carry no checksum of their own: that others are read, the manifest tells."""
    content = bytearray((raw_files / name).read_bytes())
    place = st.integers(0, len(content) - 1)
    for where, byte in data.draw(st.dictionaries(place, st.integers(0, 255), min_size=1)).items():
        content[where] = byte
    path = raw_files / f"other-{name}"
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        with refused(f"{path}: "):
            raise error


RAW = {
    "of another project": ("x.parquet", "Parquet"),
    "of another project's arrays": ("x.safetensors", "safetensors"),
    "that is not there": ("none.parquet", "Parquet | none.parquet"),
    "that is a folder": ("folder.safetensors", "safetensors | ("),
}


@pytest.mark.parametrize("mistake", RAW)
def test_a_raw_file(tmp_path: Path, mistake: str) -> None:
    name, message = RAW[mistake]
    (tmp_path / "folder.safetensors").mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "x.parquet")
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    read = files.read_parquet if name.endswith("parquet") else files.read_safetensors
    with refused(f"{tmp_path / name}: | {message}"):
        read(tmp_path / name)


def test_a_verification_passes_over_damaged_raw_files(raw_files: Path) -> None:
    """They are named as changed already, so that all the others are looked at as well."""
    path = raw_files / "half.parquet"
    path.write_bytes((raw_files / "x.parquet").read_bytes()[:50])
    assert raw_of_models({"files": {str(path): {}}}, raw_files) == {}
