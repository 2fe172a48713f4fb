"""Files are whole or absent, and carry what they are of."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from stable_regions.base import files
from stable_regions.base.errors import UserError
from stable_regions.base.files import read_csv, write_csv


def test_a_failure_leaves_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(target) as made:
        made.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "d"
    for content in ("one", "two"):
        with files.atomic(target) as made:
            made.mkdir()
            (made / content).write_text(content)
    assert [p.name for p in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_parquet_brings_back_table_and_metadata(tmp_path: Path) -> None:
    table = pd.DataFrame({"pair": ["a", "b"], "distance": [np.arange(3.0), np.ones(3)]})
    files.write_parquet(tmp_path / "t.parquet", table, {"alpha": [0, 0.5, 1]})
    result, metadata = files.read_parquet(tmp_path / "t.parquet")
    assert metadata == {"alpha": [0, 0.5, 1]}
    np.testing.assert_array_equal(np.stack(list(result["distance"])), [[0, 1, 2], [1, 1, 1]])


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=100)})
    for name in ("a", "b"):
        files.write_parquet(tmp_path / name, table, {"b": 1, "a": 2})
    assert files.sha256(tmp_path / "a") == files.sha256(tmp_path / "b")


def test_safetensors_bring_back_tensors_and_metadata(tmp_path: Path) -> None:
    tensor = torch.arange(6).reshape(2, 3).T
    files.write_safetensors(tmp_path / "t", {"x": tensor}, {"layer": 0})
    result, metadata = files.read_safetensors(tmp_path / "t")
    assert torch.equal(result["x"], tensor)
    assert metadata == {"layer": 0}


@pytest.mark.parametrize("read", [files.read_parquet, files.read_safetensors, files.read_json])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"PAR1garbagePAR1",
        b"\xff" * 64,
        (10**8 + 1).to_bytes(8, "little") + b"{" + b" " * 10**6,  # a header of 100 MB
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, read, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_a_truncated_raw_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write_parquet(path, pd.DataFrame({"x": range(1000)}), {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a readable Parquet"):
        files.read_parquet(path)


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_csv_gives_a_float32_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    files.write_csv(tmp_path / "x.csv", pd.DataFrame({"x": values}))
    result = pd.read_csv(tmp_path / "x.csv")["x"].to_numpy(np.float32)
    np.testing.assert_array_equal(result, values)


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    files.write_safetensors(tmp_path / "t", {"x": torch.zeros(2)}, {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "t").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_link_points_to_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch(mode=0o600)
    with files.atomic(tmp_path / "d") as made:
        made.mkdir()
        (made / "link").symlink_to(outside)
    assert outside.stat().st_mode & 0o777 == 0o600


def test_a_disk_without_modes_takes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", refused)
    files.write_safetensors(tmp_path / "t", {"x": torch.zeros(2)}, {})
    assert torch.equal(files.read_safetensors(tmp_path / "t")[0]["x"], torch.zeros(2))


@pytest.mark.parametrize("has_links", [True, False])
def test_what_is_linked_is_copied_on_a_disk_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    if not has_links:
        monkeypatch.setattr(os, "symlink", refused)
    (tmp_path / "d").mkdir()
    for place in (tmp_path / "outside", tmp_path / "d" / "inside"):
        place.write_text(place.name)
        files.link(place, tmp_path / "d" / f"{place.name}.link")
    (tmp_path / "d").rename(tmp_path / "moved")
    for name in ("outside", "inside"):
        linked = tmp_path / "moved" / f"{name}.link"
        assert linked.read_text() == name
        assert linked.is_symlink() == has_links


@pytest.mark.parametrize(
    "written",
    [
        {"version": "1.0", "compression": "none", "use_dictionary": False},
        {"version": "2.4", "compression": "snappy", "data_page_version": "1.0"},
        {"version": "2.6", "compression": "gzip", "data_page_version": "2.0"},
    ],
)
def test_parquet_of_other_versions_is_read(tmp_path: Path, written: dict[str, Any]) -> None:
    table = pd.DataFrame({"pair": ["a", "b"], "distance": [np.arange(3.0), np.ones(3)]})
    files.write_parquet(tmp_path / "ours", table, {"alpha": [0, 1]})
    pq.write_table(pq.read_table(tmp_path / "ours"), tmp_path / "other", **written)
    ours, other = (files.read_parquet(tmp_path / name) for name in ("ours", "other"))
    pd.testing.assert_frame_equal(ours[0], other[0])
    assert ours[1] == other[1]


def test_parquet_of_a_version_to_come_is_one_line(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.arange(100.0)})
    files.write_parquet(tmp_path / "t", table, {})
    content = (tmp_path / "t").read_bytes()
    codec = b"\x15\x0c"  # in Thrift's compact form: a field with the number 6, for zstd
    unknown = content.replace(codec, b"\x15\x7c")
    assert unknown != content
    (tmp_path / "t").write_bytes(unknown)
    with pytest.raises(UserError, match="t: not a readable Parquet file"):
        files.read_parquet(tmp_path / "t")


def test_json_is_sorted_and_ends_in_a_line(tmp_path: Path) -> None:
    files.write_json(tmp_path / "j", {"b": 1, "a": [2]})
    text = (tmp_path / "j").read_text(encoding="utf-8")
    assert text == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'


def test_parquet_keeps_what_pandas_says_of_a_table(tmp_path: Path) -> None:
    files.write_parquet(tmp_path / "t", pd.DataFrame({"x": [1]}), {"of": "m"})
    kept = pq.read_schema(tmp_path / "t").metadata
    assert {*kept} == {b"pandas", files.METADATA_KEY}


def test_names_that_look_like_numbers_or_gaps_stay_names(tmp_path: Path) -> None:
    names = ["NA", "007", "1e5", "nan", "None"]
    table = pd.DataFrame(
        {"model": names, "pair": names[::-1], "value": [1.5, np.nan, 2, 3, 4],
         "revision": [None, "1", None, "2", None]}
    )  # fmt: skip
    write_csv(tmp_path / "t.csv", table)
    result = read_csv(tmp_path / "t.csv")
    assert result["model"].tolist() == names
    assert result["pair"].tolist() == names[::-1]
    assert result["value"].isna().tolist() == [False, True, False, False, False]
    assert result["revision"].isna().tolist() == [True, False, True, False, True]
    only = pd.DataFrame({"model": ["007", "008"], "count": [1, 2]})
    write_csv(tmp_path / "t.csv", only)
    assert read_csv(tmp_path / "t.csv")["model"].tolist() == ["007", "008"]
    assert read_csv(tmp_path / "t.csv")["count"].dtype == np.int64


def test_tables_are_read_by_the_one_reader() -> None:
    """A bare `pd.read_csv` makes numbers or gaps of some names."""
    root = Path(__file__).parent.parent
    sources = [*(root / "scripts").glob("*.py"), *(root / "stable_regions").rglob("*.py")]
    bare = {path.name for path in sources if "pd.read_csv" in path.read_text()}
    # the reader itself; Snakemake's benchmarks and a model's loss curve name nobody
    assert bare == {"files.py", "costs.py", "tabulate_losses.py"}
