"""The hub: what is fetched and where it lies, and what cannot be had in one line each."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from stable_regions.base.errors import UserError
from stable_regions.models.facts import model_row
from stable_regions.sources import hub
from stable_regions.sources.packages import describe
from tests.hub_stand_in import Hub, Repository, serve, visited
from tests.tiny_study import ROOT

pytestmark = pytest.mark.hub

WEIGHT = np.arange(50_000, dtype=np.float32)
FETCHED = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Hub]:
    """The hub stand-in, as the hub of this process, with an empty cache."""
    with serve() as running, visited(running.url, tmp_path / "cache"):
        yield running


def make_repository(folder: Path, shards: int = 1, weight: np.ndarray = WEIGHT) -> Path:
    """A model repository as the hub has them, with much that nobody needs."""
    folder.mkdir(parents=True)
    sizes = {"num_hidden_layers": 2, "hidden_size": 4, "num_attention_heads": 2, "vocab_size": 8}
    config = {"model_type": "qwen2", "num_key_value_heads": 2, "intermediate_size": 8, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"bos_token": null}')
    if shards == 1:
        save_file({"w": weight}, folder / "model.safetensors")
    else:
        names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        for i, name in enumerate(names):
            save_file({f"w{i}": weight + i}, folder / name)
        index = {"weight_map": {f"w{i}": name for i, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for extra in (
        "README.md",
        "modeling_x.py",
        "pytorch_model.bin",
        "training_args.bin",
        "consolidated.safetensors",
        "onnx/model.safetensors",
        "original/params.json",
    ):
        path = folder / extra
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not this")  # fmt: skip
    return folder


def fetch(where: Path, name: str = "me/model", revision: str = "main", **how) -> str:
    where.mkdir(parents=True)
    return hub.fetch_model(name, revision, where, **how)


def test_what_the_disk_has_no_room_for_is_not_begun(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.repositories["me/model"] = Repository({"main": make_repository(tmp_path / "there")})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    for separate in (None, tmp_path / "separate"):
        with pytest.raises(UserError, match=r"me/model at main: .*0.0002 GB.* 0.0001"):
            fetch(tmp_path / f"model-{separate is None}", private_cache=separate)
    assert not list(tmp_path.rglob("cache/**/model.safetensors"))
    assert not list(tmp_path.rglob("separate/**/model.safetensors"))


def size(*folders: Path) -> int:
    """Bytes on the disk below the folders, links not followed."""
    files = (p for folder in folders for p in folder.rglob("*") if p.is_file())
    return sum(p.stat().st_size for p in files if not p.is_symlink())


def test_a_model_is_fetched_without_what_is_not_needed(stand_in: Hub, tmp_path: Path) -> None:
    repository = Repository({"main": make_repository(tmp_path / "repository")})
    stand_in.repositories["me/model"] = repository
    commit = fetch(tmp_path / "model")
    assert commit == repository.commit("main")
    assert {p.name for p in (tmp_path / "model").iterdir()} == FETCHED
    assert set(stand_in.files()) == FETCHED
    for name in FETCHED:
        assert (tmp_path / "model" / name).read_bytes() == (
            tmp_path / "repository" / name
        ).read_bytes()
    assert size(tmp_path / "cache", tmp_path / "model") < 1.1 * WEIGHT.nbytes
    stand_in.asked.clear()
    fetch(tmp_path / "again")
    assert stand_in.files() == []


@pytest.mark.parametrize("separate", [True, False])
def test_of_two_sets_of_weights_the_whole_one_is_fetched(
    stand_in: Hub,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    separate: bool,
) -> None:
    repository = make_repository(tmp_path / "repository", shards=2)
    save_file({"w": WEIGHT}, repository / "model.safetensors")
    stand_in.repositories["me/model"] = Repository({"main": repository})
    with caplog.at_level("INFO"):
        fetch(tmp_path / "model", private_cache=tmp_path / "separate" if separate else None)
    assert {p.name for p in (tmp_path / "model").iterdir()} - {".hub"} == FETCHED
    assert set(stand_in.files()) == FETCHED
    assert "holds two sets of weights; model.safetensors is read" in caplog.text
    assert "and model-00001-of-00002.safetensors is not" in caplog.text
    # of a cache that another program filled
    huggingface_hub.snapshot_download("me/model", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    fetch(tmp_path / "again")
    assert {p.name for p in (tmp_path / "again").iterdir()} == FETCHED


@pytest.mark.parametrize("weights", [True, False])
def test_offline_what_is_needed_will_do(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: bool
) -> None:
    stand_in.repositories["me/model"] = Repository({"main": make_repository(tmp_path / "r")})
    fetch(tmp_path / "model", weights=weights)
    [optional] = (tmp_path / "cache").rglob("snapshots/*/tokenizer_config.json")
    optional.unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    fetch(tmp_path / "again", weights=weights)
    assert not (tmp_path / "again" / "tokenizer_config.json").exists()
    assert (tmp_path / "again" / "model.safetensors").exists() == weights
    optional.with_name("tokenizer.json").unlink()
    with pytest.raises(UserError, match="cache"):
        fetch(tmp_path / "third", weights=weights)


def test_a_configuration_needs_no_weights(stand_in: Hub, tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository")
    stand_in.repositories["me/model"] = Repository({"main": folder})
    fetch(tmp_path / "config", weights=False)
    assert {p.name for p in (tmp_path / "config").iterdir()} == FETCHED - {"model.safetensors"}
    assert "model.safetensors" not in stand_in.files()
    shutil.rmtree(tmp_path / "cache")
    assert (tmp_path / "config" / "tokenizer.json").read_text() == "{}"


def test_a_checkpoint_is_gone_when_its_folder_is(stand_in: Hub, tmp_path: Path) -> None:
    early = make_repository(tmp_path / "early", shards=2)
    late = make_repository(tmp_path / "late", weight=WEIGHT + 7)
    stand_in.repositories["me/model"] = Repository({"step0-tokens0B": early, "main": late})
    before = size(tmp_path)
    commit = fetch(
        tmp_path / "made" / "model",
        revision="step0-tokens0B",
        private_cache=tmp_path / "made" / ".model",
    )
    kept = (tmp_path / "moved").absolute()
    (tmp_path / "made" / "model").rename(kept)  # as an atomic write does
    assert not list((tmp_path / "made").iterdir())
    names = {p.name for p in kept.glob("*.safetensors")}
    assert names == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    for name in names:
        assert (kept / name).read_bytes() == (early / name).read_bytes()
    describe(kept, source={"kind": "hub"}, family="F", licence="L", commit=commit)
    row = model_row("m@step0-tokens0B", kept)
    assert (row["parameters"], row["tokens"]) == (428, 0)  # of the architecture, not of the files
    assert size(kept) < 2.1 * WEIGHT.nbytes
    shutil.rmtree(kept)
    assert size(tmp_path) - before < 0.1 * WEIGHT.nbytes


def test_a_checkpoint_that_the_cache_has_is_linked(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.repositories["me/model"] = Repository({"main": make_repository(tmp_path / "r")})
    fetch(tmp_path / "model")
    stand_in.asked.clear()
    fetch(tmp_path / "linked", private_cache=tmp_path / ".linked")
    assert stand_in.files() == []
    blob = (tmp_path / "linked" / "model.safetensors").resolve()
    assert blob.is_relative_to(tmp_path / "cache")


def test_a_download_tells_its_megabytes(
    stand_in: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_repository(tmp_path / "r", weight=np.zeros(250_000, dtype=np.float32))
    stand_in.repositories["me/model"] = Repository({"main": folder})
    with caplog.at_level("INFO"):
        fetch(tmp_path / "model")
    assert "download me/model: 1 of 1 MB" in caplog.text


def test_an_interrupted_download_goes_on(stand_in: Hub, tmp_path: Path) -> None:
    repository = Repository({"main": make_repository(tmp_path / "r", shards=2)})
    stand_in.repositories["me/model"] = repository
    last = tmp_path / "r" / "model-00002-of-00002.safetensors"
    stand_in.withheld.add(last.name)
    with pytest.raises(UserError, match="run again"):
        fetch(tmp_path / "model", private_cache=tmp_path / ".model")
    kept = {path.name for path in (tmp_path / ".model").glob("**/snapshots/*/*")}
    assert kept
    stand_in.withheld.clear()
    stand_in.asked.clear()
    fetch(tmp_path / "second", private_cache=tmp_path / ".model")
    asked = set(stand_in.files())  # more than the last, if others were under way when it failed
    assert last.name in asked
    assert asked.isdisjoint(kept)
    assert not (tmp_path / ".model").exists()


@pytest.mark.parametrize("spared", [0, 3, 8])
def test_a_hub_that_asks_to_wait_is_waited_for(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spared: int
) -> None:
    """Whatever it is asked when it has had enough, no file is left out."""
    waits: list[float] = []
    monkeypatch.setattr(hub.time, "sleep", waits.append)
    stand_in.repositories["me/model"] = Repository({"main": make_repository(tmp_path / "r")})
    stand_in.spared, stand_in.limited = spared, 3
    fetch(tmp_path / "model")
    assert stand_in.limited == 0
    assert {path.name for path in (tmp_path / "model").iterdir()} == FETCHED
    assert set(waits) <= {0, 1, 2}  # as the hub says, and a second for its rounding


def test_a_hub_that_has_too_many_requests_for_long_is_one_line(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.time, "sleep", lambda seconds: None)
    stand_in.repositories["me/model"] = Repository({"main": make_repository(tmp_path / "r")})
    stand_in.limited = 10**6
    with pytest.raises(UserError, match="me/model: .*asks to wait.* run again"):
        fetch(tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_shard_that_breaks_off_is_taken_up_where_it_ended(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10**5)
    folder = make_repository(tmp_path / "r", shards=2, weight=np.arange(10**6, dtype=np.float32))
    stand_in.repositories["me/model"] = Repository({"main": folder})
    last = folder / "model-00002-of-00002.safetensors"
    stand_in.broken[last.name] = 10**6
    fetch(tmp_path / "model")
    assert (tmp_path / "model" / last.name).read_bytes() == last.read_bytes()
    assert stand_in.ranges == [f"{last.name} bytes=1000000-"]


def test_a_revision_that_moved_is_another_commit(stand_in: Hub, tmp_path: Path) -> None:
    """What was fetched stays what it was, and what is fetched later says what it is of."""
    repository = Repository({"main": make_repository(tmp_path / "r")})
    stand_in.repositories["me/model"] = repository
    first = fetch(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    repository.revisions["main"] = make_repository(tmp_path / "moved", weight=WEIGHT + 1)
    second = fetch(tmp_path / "again")
    assert first != second
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert (tmp_path / "again" / "model.safetensors").read_bytes() != before
    third = fetch(tmp_path / "pinned", revision=second)
    assert third == second


def test_what_the_hub_lacks_is_known_before_anything_is_downloaded(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_repository(tmp_path / "r")
    pickled = make_repository(tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    (pickled / "tokenizer.json").unlink()
    stand_in.repositories |= {
        "me/model": Repository({"main": folder}),
        "me/gated": Repository({"main": folder}, token="secret"),
        "me/pickled": Repository({"main": pickled}),
        "me/texts": Repository({"main": make_texts(tmp_path / "t")}),
    }
    assert hub.absent("me/model", ["main"]) == []
    assert hub.absent("me/texts", ["main"], kind="dataset", files=["data/*.parquet"]) == []
    [line] = hub.absent("me/model", ["main", "step7"])
    assert "has no revision 'step7'" in line
    [line] = hub.absent("me/none", ["main"])
    assert "me/none: the hub has no such model" in line
    [line] = hub.absent("me/gated", ["main"])
    assert "gated; accept its terms" in line
    with pytest.MonkeyPatch.context() as old:
        old.setenv("HF_TOKEN", "old secret")
        [line] = hub.absent("me/gated", ["main"])
    assert "me/gated: the hub refuses the token" in line
    [line] = hub.absent("me/pickled", ["main"])
    assert "has no tokenizer.json and no model.safetensors; pytorch_model.bin is a pickle" in line
    [line] = hub.absent("me/texts", ["main"], kind="dataset", files=["data/*.parquet", "x/*.csv"])
    assert line == "me/texts: has no x/*.csv at main"
    assert stand_in.files() == []
    with visited("http://127.0.0.1:9", tmp_path / "cache"):
        assert hub.absent("me/none", ["main"]) == []  # that there is no network is said later
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert hub.absent("me/none", ["main"]) == []


@pytest.mark.parametrize("spared", [0, 1])  # its client waits for some of what it asks
def test_names_are_looked_for_again_when_the_hub_asks_to_wait(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spared: int
) -> None:
    monkeypatch.setattr(hub.time, "sleep", lambda seconds: None)
    folder = make_repository(tmp_path / "r")
    stand_in.repositories["me/gated"] = Repository({"main": folder}, token="secret")
    stand_in.spared, stand_in.limited = spared, 3
    [line] = hub.absent("me/gated", ["main"])
    assert "gated; accept its terms" in line
    with pytest.MonkeyPatch.context() as old:
        old.setenv("HF_TOKEN", "old secret")
        [line] = hub.absent("me/gated", ["main"])
    assert "me/gated: the hub refuses the token" in line


def test_damaged_weights_are_noticed(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.repositories["me/model"] = Repository({"main": make_repository(tmp_path / "r")})
    fetch(tmp_path / "model")
    describe(tmp_path / "model")
    hub.check_hashes(tmp_path / "model")
    blob = (tmp_path / "model" / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-4] + b"oops")
    describe(tmp_path / "model")
    with pytest.raises(UserError, match="model.safetensors: .*SHA-256"):
        hub.check_hashes(tmp_path / "model")


def test_what_cannot_be_had_is_one_line(
    stand_in: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_repository(tmp_path / "r")
    pickled = make_repository(tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    bare = make_repository(tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    stand_in.repositories |= {
        "me/model": Repository({"main": folder}),
        "me/gated": Repository({"main": folder}, token="secret"),
        "me/pickled": Repository({"main": pickled}),
        "me/bare": Repository({"main": bare}),
    }

    def message(name: str, revision: str = "main") -> str:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        with pytest.raises(UserError) as error:
            fetch(tmp_path / "model", name, revision)
        line = str(error.value)
        assert line.startswith(f"{name}: ")
        assert "\n" not in line
        assert "secret" not in line
        return line

    gated = f"gated; accept its terms on {stand_in.url}/me/gated, then set HF_TOKEN or run"
    assert gated in message("me/gated")
    assert "the hub has no such model, or it is private; check its name" in message("me/none")
    assert "has no revision 'step7'" in message("me/model", "step7")
    assert "has no model.safetensors at" in message("me/pickled")
    assert "pytorch_model.bin is a pickle and is not read" in message("me/pickled")
    assert "pytorch_model.bin" not in stand_in.files()
    assert "has no tokenizer.json at" in message("me/bare")
    monkeypatch.setenv("HF_TOKEN", "old secret")
    assert "the hub refuses the token; set HF_TOKEN or run" in message("me/gated")
    monkeypatch.setenv("HF_TOKEN", "secret")
    shutil.rmtree(tmp_path / "model")
    fetch(tmp_path / "model", "me/gated")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = message("me/model")
    assert f"cache {tmp_path / 'cache'} and HF_HUB_OFFLINE is set" in line
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    closed = "http://127.0.0.1:9"
    with visited(closed, tmp_path / "cache"):
        line = message("me/model")
        assert f"cannot be had from the hub at {closed} (" in line
        assert "check the network and HF_ENDPOINT" in line
        shutil.rmtree(tmp_path / "model")
        fetch(tmp_path / "model", "me/gated")  # it is in the cache


PROGRAM = """
import sys
from pathlib import Path
from stable_regions.sources import hub
from stable_regions.base.errors import UserError
try:
    Path(sys.argv[1]).mkdir()
    print(hub.fetch_model("me/gated", "main", Path(sys.argv[1])))
except UserError as error:
    print(error)
"""


def test_the_client_s_variables_are_obeyed(tmp_path: Path) -> None:
    with serve() as running:
        repository = Repository({"main": make_repository(tmp_path / "r")}, token="secret")
        running.repositories["me/gated"] = repository

        def run(target: str, home: str, **changes: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(tmp_path / target)], cwd=ROOT,
                env=running.environment(tmp_path / home, **changes), capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        commit = repository.commit("main")
        assert run("a", "home", HF_TOKEN="secret") == commit
        assert (tmp_path / "home" / "hub" / "models--me--gated" / "snapshots" / commit).is_dir()
        running.asked.clear()
        assert run("b", "home", HF_HUB_OFFLINE="1") == commit
        assert "HF_HUB_OFFLINE is set" in run("c", "elsewhere", HF_HUB_OFFLINE="1")
        assert running.asked == []
        assert "is gated" in run("d", "elsewhere")
        ways = ("HF_HUB_ENABLE_HF_TRANSFER", "HF_XET_HIGH_PERFORMANCE", "HF_HUB_DISABLE_XET")
        for way in ways:  # as people have them in their profiles; here there is no Xet to go by
            assert run(way, f"home-{way}", HF_TOKEN="secret", **{way: "1"}) == commit


def bound_by_permissions() -> None:
    """As root is not: from the next program on it may write no more than others may."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can bind root by permissions")
def test_a_cache_that_others_own_is_read(tmp_path: Path) -> None:
    """Of a group's cache on a shared disk a second person may write nothing."""
    with serve() as running:
        repository = Repository({"main": make_repository(tmp_path / "r")})
        running.repositories["me/gated"] = repository

        def run(target: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(tmp_path / target)], cwd=ROOT,
                env=running.environment(tmp_path / "home"), capture_output=True, text=True,
                preexec_fn=bound_by_permissions,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        commit = run("first")
        running.asked.clear()
        folders = [path for path in (tmp_path / "home").rglob("*") if path.is_dir()]
        for path in folders:
            path.chmod(0o555)
        try:
            assert run("second") == commit
            assert running.files() == []
            repository.revisions["main"] = make_repository(tmp_path / "later")
            line = run("third")
        finally:
            for path in folders:
                path.chmod(0o755)
    one, other = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert one.resolve() == other.resolve()
    cache = tmp_path / "home" / "hub"
    assert line.startswith(f"me/gated: cannot write {cache}/")
    assert line.endswith(": set HF_HOME to a folder of your own")


def make_texts(folder: Path) -> Path:
    """A data set of two files of six books."""
    (folder / "data").mkdir(parents=True)
    for part in range(2):
        texts = [f"book {6 * part + i}" for i in range(6)]
        table = pd.DataFrame({"TEXT": texts, "SOURCE": "gutenberg"})
        table.to_parquet(folder / "data" / f"train-{part:05}-of-00002-ab.parquet", row_group_size=2)
    return folder


def texts(draw: str, works: int = 4, seed: int = 0, **how) -> list[str]:
    how = {"files": ["data/*.parquet"], "column": "TEXT"} | how
    table = hub.read_texts("me/books", "main", works=works, draw=draw, seed=seed, **how)
    assert list(table.columns) == ["work", "text"]
    assert [f"book {work}" for work in table["work"]] == list(table["text"])
    return list(table["work"])


def test_books_are_the_first_of_the_first_file(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.repositories["me/books"] = Repository({"main": make_texts(tmp_path / "r")})
    assert texts("first", files=["data/train-00000-*.parquet"]) == ["0", "1", "2", "3"]
    assert stand_in.files() == ["train-00000-of-00002-ab.parquet"]
    with pytest.raises(UserError, match="me/books: .*6 works.* 7"):
        texts("first", works=7, files=["data/train-00000-*.parquet"])


def test_a_cache_whose_path_looks_like_a_pattern_is_read(tmp_path: Path) -> None:
    with serve() as running, visited(running.url, tmp_path / "[x]*" / "cache"):
        running.repositories["me/books"] = Repository({"main": make_texts(tmp_path / "r")})
        assert texts("first") == ["0", "1", "2", "3"]


def test_books_are_drawn_from_the_whole(stand_in: Hub, tmp_path: Path) -> None:
    stand_in.repositories["me/books"] = Repository({"main": make_texts(tmp_path / "r")})
    draws = [texts("random", seed=seed) for seed in range(30)]
    assert draws[0] == texts("random", seed=0) != draws[1]
    assert all(draw == sorted(set(draw), key=int) and len(draw) == 4 for draw in draws)
    times = np.bincount([int(work) for draw in draws for work in draw], minlength=12)
    # 30 draws of 4 of 12: 10 times each, with a standard deviation of 2.6
    assert 2 < times.min() <= times.max() < 18
    with pytest.raises(UserError, match="'text'.* TEXT, SOURCE"):
        texts("random", column="text")
    with pytest.raises(UserError, match=r"no file in it matches 'x/\*'"):
        texts("random", files=["x/*"])
