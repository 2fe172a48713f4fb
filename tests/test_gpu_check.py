"""The check of a GPU before a study: here on the processor, which needs none of what it says."""

import runpy
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from stable_regions.base.errors import UserError
from stable_regions.base.files import write_parquet
from stable_regions.estimate import gpu_check
from stable_regions.estimate.gpu_check import GpuCheck, Speed, accelerator, pairs_of, report, tf32
from stable_regions.estimate.workload import Sweep, Work
from stable_regions.models.shapes import Shape
from tests.models import VOCAB, make_model
from tests.tiny_study import ROOT

SHAPE = Shape(model_type="llama", layers=4, width=16, heads=2, mlp=32, vocabulary=VOCAB)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> GpuCheck:
    patch = pytest.MonkeyPatch()
    patch.setattr(gpu_check, "SECONDS", 0.0)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(3, VOCAB, size=(5, 6)))
    with patch.context():
        return gpu_check.gpu_check(
            make_model(tmp_path_factory.mktemp("model"), "llama"), tokens, SHAPE,
            device=torch.device("cpu"), dtype="float32", layer=0, threads=1, budget=2**24,
        )  # fmt: skip


def test_float32_is_near_float64_and_not_the_same(found: GpuCheck) -> None:
    assert found.load.verdict == "passed"
    assert 0 < found.output_error < 1e-5
    assert 0 < found.slope_error < 1e-4
    assert found.precise == len(found.own.slopes) == 10
    assert found.fault is None


def test_fewer_pairs_of_a_large_model_are_run_in_float64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "SECONDS", 0.0)
    monkeypatch.setattr(gpu_check, "PRECISE", 3.5 * 50 * SHAPE.operations(0, logits=False))
    tokens = torch.from_numpy(np.random.default_rng(0).integers(3, VOCAB, size=(5, 6)))
    few = gpu_check.gpu_check(
        make_model(tmp_path, "llama"), tokens, SHAPE,
        device=torch.device("cpu"), dtype="float32", layer=0, threads=1, budget=2**24,
    )  # fmt: skip
    assert few.precise == 3
    assert len(few.own.slopes) == 10


def test_the_report_has_five_lines_and_a_verdict(found: GpuCheck) -> None:
    card = replace(
        found, device="Some card", memory=10**10, used=10**9, promised=2 * 10**9,
        own=Speed(1e6, np.array([2.0, 4.0])), tf32=Speed(3e6, np.array([2.02, 4.4])),
    )  # fmt: skip
    where = {"model": "m", "layer": 0}
    a_point = SHAPE.operations(0, logits=False)
    lines = report(card, SHAPE, **where, operations=90 * 10**6 * a_point, largest=3 * 10**9)
    assert len(lines) == 5
    assert "Some card: passed" in lines[0]
    assert "1 GB used, 2 GB promised; the study's largest job needs 3 GB of 10 GB" in lines[2]
    assert "1,000,000 points a second; 3,000,000 with TF32" in lines[3]
    assert "5.5% in the median and 10.0% at most (2 pairs)" in lines[3]
    assert "can be started: about 1 min 30 s" in lines[4]
    lines = report(card, SHAPE, **where, operations=1, largest=11 * 10**9)
    assert "not to be started: its largest model needs 11 GB of 10 GB" in lines[4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_error": 2e-4}, "an output differs by 2.0e-04"),
        ({"output_error": float("nan")}, "an output differs by nan"),
        ({"slope_error": 2e-3}, "a max slope differs by 2.0e-03"),
        ({"used": 10**6, "promised": 10**6 - 1}, "a job takes 1 MB of memory"),
    ],
)
def test_what_is_wrong_speaks_against_a_start(
    found: GpuCheck, changes: dict[str, float], message: str
) -> None:
    wrong = replace(found, memory=10**10, **changes)
    assert wrong.fault is not None
    assert wrong.fault.startswith(message)
    lines = report(wrong, SHAPE, model="m", layer=0, operations=1, largest=1)
    assert f"not to be started: {message}" in lines[-1]


def test_a_failed_load_check_speaks_against_a_start(found: GpuCheck) -> None:
    failed = replace(found, load=replace(found.load, verdict="post_norm differs"))
    assert failed.fault == "the load check failed: post_norm differs"


def test_tf32_ends_with_its_block() -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), tf32():
        assert torch.get_float32_matmul_precision() == "high"
        raise KeyError
    assert torch.get_float32_matmul_precision() == before == "highest"


@pytest.mark.parametrize(
    ("there", "device", "given"), [("cuda", "auto", "cuda"), ("cuda", "cuda:1", "cuda:1")]
)
def test_the_device_is_the_one_that_the_study_uses(
    monkeypatch: pytest.MonkeyPatch, there: str, device: str, given: str
) -> None:
    see(monkeypatch, there)
    assert str(accelerator(device)) == given


@pytest.mark.parametrize(
    ("there", "device", "message"),
    [
        (None, "auto", "compute.device: 'auto': torch sees no GPU here"),
        (None, "cuda", "compute.device: 'cuda': torch sees no GPU here"),
        ("cuda", "cpu", "compute.device: 'cpu' is no GPU; torch sees 'cuda' here"),
    ],
)
def test_without_a_gpu_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, there: str | None, device: str, message: str
) -> None:
    see(monkeypatch, there)
    with pytest.raises(UserError, match=f"^{message}"):
        accelerator(device)


def see(monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    """Let torch see a GPU of a kind, or none."""
    one = kind and torch.device(kind)
    seen = SimpleNamespace(current_accelerator=lambda check_available: one)
    monkeypatch.setattr(torch, "accelerator", seen)


def test_pairs_are_each_with_each() -> None:
    a, b = pairs_of(4)
    assert list(zip(a, b, strict=True)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert len(pairs_of(100)[0]) == gpu_check.PAIRS
    with pytest.raises(UserError, match="2 prompts of one length or more, not 1"):
        pairs_of(1)


class Files(list[str]):
    """Inputs as Snakemake gives them: by place and by name."""

    model = property(lambda self: self[0])
    prompts = property(lambda self: self[1])


def test_the_script_prints_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the processor in the place of a GPU; on those prompts of one length that are most."""
    rows = np.random.default_rng(0).integers(3, VOCAB, size=(5, 6))
    tokens = [rows[0][:4], *rows[1:]]
    write_parquet(tmp_path / "prompts.parquet", pd.DataFrame({"tokens": tokens}), {})
    model = make_model(tmp_path / "model", "llama")
    works = [
        Work("training", "m", jobs=1, threads=1, loads=0, tokens=100, updates=1),
        Work("paths", "m", jobs=1, threads=1, loads=1, sweeps=[Sweep("short", "float32", 50, [0])]),
    ]
    files = Files([str(model), str(tmp_path / "prompts.parquet")])
    snakemake = SimpleNamespace(
        input=files, output=[], log=[str(tmp_path / "check.log")], threads=1, rule="gpu-check",
        params=SimpleNamespace(
            ref="m@last", layer=0, dtype="float32",
            compute={"device": "cpu", "memory_budget_mb": 16},
            works=list(map(asdict, works)), shapes={"m": SHAPE.model_dump(), "other": None},
        ),
    )  # fmt: skip
    monkeypatch.setattr(gpu_check, "SECONDS", 0.0)
    monkeypatch.setattr(gpu_check, "accelerator", torch.device)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "scripts" / "check_gpu.py"), {"snakemake": snakemake})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "m@last in float32" in lines[0]
    assert "(6 pairs)" in lines[1]  # of the four prompts of one length
    largest = max(work.peak_memory(SHAPE, 16 * 2**20) for work in works[1:])
    assert f"not to be started: its largest model needs {largest / 1e6:.3g} MB" in lines[4]
