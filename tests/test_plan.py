"""What a study will take: shapes, sums over jobs, and the plan as a person sees it."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open

from stable_regions.base.errors import UserError
from stable_regions.base.files import sha256
from stable_regions.base.progress import duration
from stable_regions.estimate import calibration, plan
from stable_regions.estimate.costs import seconds_taken
from stable_regions.estimate.gpus import GPUS, Gpu
from stable_regions.estimate.workload import Cost, Machine, Source, Sweep, Work, seconds_of
from stable_regions.models import fused
from stable_regions.models.shapes import Shape, check_shape, shape_of
from stable_regions.sources.kinds import KINDS
from stable_regions.study.config import load
from stable_regions.study.study import Study
from stable_regions.study.work import sources, texts, works
from tests.documents import CONDA
from tests.models import FAMILIES, make_model
from tests.tiny_study import FEW, ROOT, environments, snakemake

COSTS = ROOT / "docs" / "costs.md"
SHAPE = Shape(model_type="llama", layers=4, width=8, heads=2, mlp=16, vocabulary=100, tied=True)
BLOCK = 4 * 8 * 8 + 3 * 8 * 16
# As their publishers give them, in millions.
PUBLISHED = {
    "smollm2-135m": 135, "olmo-1b-0724": 1280, "olmo-7b-0724": 6890, "qwen2-0.5b": 494,
    "qwen2-1.5b": 1540, "qwen2-7b": 7620, "gpt2": 124, "pythia-410m": 405, "phi-1.5": 1420,
    "llama-3.2-1b": 1240, "gemma-2-2b": 2610,
}  # fmt: skip


def machine(**changes):
    costs = {"m": {"paths.float32": Cost(1e-3, 2e-3), "load": Cost(1, 0.5), "update": Cost(3, 0)}}
    given = {"cores": 2, "start": 10.0, "light": 2.0, "baseline": 100, "costs": costs}
    return Machine(**(given | changes))


def work(**changes):
    given = {
        "stage": "interpolation", "model": "m", "jobs": 2, "threads": 2, "loads": 2,
        "sweeps": [Sweep("paths", "float32", 1000, (0, 2))],
    }  # fmt: skip
    return Work(**(given | changes))


def table(*works, on=None, sources=None):
    return plan.table(works, {"m": SHAPE}, sources or {}, on or machine(), budget=1000)


def cells(lines: list[str]) -> dict[tuple[str, str], dict[str, str]]:
    """The plan's lines by model and stage."""
    table = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line]
    return {(row[0], row[1]): dict(zip(table[0], row, strict=True)) for row in table[1:]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_shapes_of_config_yaml_have_as_many_parameters_as_published(name: str) -> None:
    config = load(yaml.safe_load((ROOT / "config.yaml").read_text()))
    shape = config.models[name].shape
    assert shape is not None
    assert shape.weights / 1e6 == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shape_read_from_a_config_counts_the_models_matrices(family: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path, family)
    shape = shape_of(json.loads((folder / "config.json").read_text()))
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        matrices = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
    count = sum(s[0] * s[1] for n, s in matrices.items() if len(s) == 2 and "wpe" not in n)
    assert shape.weights == count
    assert shape.gated == any("gate" in name for name in matrices)


def test_a_shape_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    config = json.loads((make_model(tmp_path) / "config.json").read_text())
    right = shape_of(config)
    check_shape(right, config, "models.m.shape")
    with pytest.raises(
        UserError, match=r"models.m.shape.mlp: holds 49; the model's config says 48"
    ):
        check_shape(right.model_copy(update={"mlp": 49}), config, "models.m.shape")
    with pytest.raises(UserError, match=r"models.m.shape.block_weights"):
        check_shape(right.model_copy(update={"kv_heads": 1}), config, "models.m.shape")


def test_the_operations_of_a_point_are_two_for_each_weight_after_the_write_layer() -> None:
    assert SHAPE.operations(0, logits=False) == 2 * 3 * BLOCK
    assert SHAPE.operations(2, logits=True) == 2 * (BLOCK + 800)
    assert work().operations(SHAPE) == 1000 * 2 * (3 + 1) * BLOCK
    assert work().points == 2000


def test_time_is_starts_and_loads_and_points() -> None:
    points = 1000 * ((1e-3 + 3 * 2e-3) + (1e-3 + 2e-3))
    seconds = seconds_of(work(), SHAPE, machine())
    assert seconds == pytest.approx(2 * 10 + 2 * (1 + 4 * 0.5) + points)
    row = table(work()).iloc[0]
    assert row["core_seconds"] == pytest.approx(2 * seconds)
    assert row["memory"] == 100 + 4 * SHAPE.weights + 2 * 1000
    both = [Sweep("robustness", "float32", 9, (0,)), Sweep("paths", "float64", 9, (0,))]
    assert SHAPE.peak_memory({s.dtype for s in both}, 1000) == 12 * SHAPE.weights + 2 * 1000
    training = work(stage="training", sweeps=[], updates=7, tokens=70, jobs=1, loads=0)
    assert seconds_of(training, SHAPE, machine()) == 10 + 7 * 3


def test_costs_are_told_apart_by_what_one_more_block_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 s a point and 3 s a block that runs, twice as dear in float64; 100 and 7 s to load."""
    clock = [0.0]

    def stand_in(shape, blocks, dtype):
        clock[0] += (100 + 7 * blocks) * (9 if dtype == torch.float64 else 1)
        return blocks, dtype

    def point(model, way, budget):
        blocks, dtype = model
        return (10 + 3 * (blocks - 1)) * (2 if dtype == torch.float64 else 1)

    monkeypatch.setattr(calibration, "stand_in", stand_in)
    monkeypatch.setattr(calibration, "_point", point)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: clock[0])
    large = SHAPE.model_copy(update={"vocabulary": 4 * calibration.VOCABULARY})
    ways = ["paths.float32", "paths.float64", "planes.float32"]
    result = calibration.sweep_costs(large, ways, dtype="float32", threads=1, budget=1)
    assert result == {
        "load": Cost(100, 7), "paths.float32": Cost(10, 3), "paths.float64": Cost(20, 6),
        "planes.float32": Cost(40, 3),  # with the logits of four times as many tokens
    }  # fmt: skip


def test_a_clean_pass_needs_the_cost_of_points_in_its_own_dtype() -> None:
    assert work(stage="activations", sweeps=[], tokens=5, dtype="bfloat16").ways == {
        "paths.bfloat16"
    }
    assert work(stage="training", sweeps=[], tokens=5, updates=1).ways == set()
    planes = work(sweeps=[Sweep("planes", "float32", 9, (0,))])
    assert planes.ways == {"planes.float32"}


def test_a_gpu_takes_the_place_of_what_was_measured() -> None:
    gpu = Gpu("g", tflops=1e-6, memory=1)
    seconds = seconds_of(work(), SHAPE, machine(gpu=gpu, costs={}))
    assert seconds == pytest.approx(20 + work().operations(SHAPE) / (1e6 * Gpu.REACHED))


def test_with_a_gpu_training_stays_on_the_processor() -> None:
    gpu = Gpu("g", tflops=1.0, memory=1)
    training = work(stage="training", sweeps=[], updates=7, tokens=70, jobs=1, loads=0)
    assert seconds_of(training, SHAPE, machine(gpu=gpu)) == 10 + 7 * 3
    result = plan.table(
        [work(), training], {"m": SHAPE}, {}, machine(gpu=gpu), budget=1000
    ).set_index("stage")
    assert result["gpu_memory"].to_list() == [work().peak_memory(SHAPE, 1000), 0]
    weights = SHAPE.peak_memory({"float32"}, 0)
    assert result.loc["interpolation", "memory"] == machine().baseline + weights
    assert result.loc["training", "memory"] == machine().baseline + training.peak_memory(
        SHAPE, 1000
    )


def test_rows_add_up_and_a_models_files_count_once() -> None:
    works = [work(), work(), work(stage="activations", sweeps=[], vectors=5)]
    result = table(*works, sources={"m": Source(download=7, disk=11)})
    assert list(result["stage"]) == ["interpolation", "activations"]
    assert list(result["jobs"]) == [4, 2]
    assert list(result["download"]) == [7, 0]
    assert result["disk"].sum() == 11 + 2 * work().output_bytes(SHAPE) + 4 * 5 * 8


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"kind": "package", "package": "p", "member": "m"}, (2_000_000, 2_000_000 + SHAPE.kept)),
        (
            {"kind": "packages", "packages": ["p", "q"], "member": "m", "sha256": "0" * 64},
            (5_000_000, 5_000_000 + SHAPE.kept),
        ),
        ({"kind": "same", "model": "m"}, (0, 0)),
        ({"kind": "hub", "repository": "a/b"}, (12 * SHAPE.weights, 12 * SHAPE.weights)),
        (
            {"kind": "hub", "repository": "a/b", "checkpoints": ["x"]},
            (12 * SHAPE.weights, 4 * SHAPE.weights),
        ),
        ({"kind": "random", "like": "m"}, (0, 4 * SHAPE.weights)),
        ({"kind": "local", "path": "m"}, (0, 0)),
    ],
)
def test_downloads_and_disk_follow_the_kind_of_source(source, expected) -> None:
    config = SimpleNamespace(
        packages={"p": SimpleNamespace(megabytes=2), "q": SimpleNamespace(megabytes=3)}
    )
    assert KINDS[source["kind"]](**source).takes(config, SHAPE, 3) == expected


def test_work_that_the_last_run_did_is_expected_to_take_as_long(tmp_path: Path) -> None:
    files = [f"logs/s/{n}.benchmark.tsv" for n in range(2)]
    both = [work(benchmarks=files), work(stage="plane", benchmarks=["logs/s/9.benchmark.tsv"])]
    given = {"budget": 1000, "taken": dict.fromkeys(files, 7.0) | {"logs/s/t.benchmark.tsv": 5.0}}
    result = plan.table(both, {"m": SHAPE}, {}, machine(), **given).set_index("stage")
    assert result.loc["interpolation", "core_seconds"] == 2 * (7 + 7)
    assert result.loc["plane", "core_seconds"] == table(work()).loc[0, "core_seconds"]
    half = given | {"taken": {files[0]: 7.0}}  # the other job is not done: all is reckoned
    result = plan.table(both, {"m": SHAPE}, {}, machine(), **half)
    assert result["core_seconds"].nunique() == 1
    shown = plan.report(
        result, machine(), light_jobs=4, clustering=99.0, texts=0.0, calibrated=1.0, others=[5, 9]
    )
    rest = cells(shown)["(none)", "prompts, clusters, tables, figures"]
    assert rest["time"] == duration((5 + 9 + 2 * 2) / 2)
    (tmp_path / "a.benchmark.tsv").write_text("s\tcpu_time\n3.5\tNA\n")
    assert list(seconds_taken([tmp_path]).values()) == [3.5]


def test_a_study_knows_where_its_jobs_leave_what_they_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = Study.load(yaml.safe_load((ROOT / "config.yaml").read_text()), ROOT)
    files = {path for each in works(study) for path in each.benchmarks}
    assert {
        "logs/train/suite-d4-w64.benchmark.tsv",
        "logs/embedded/activations/random/suite-d4-w64.benchmark.tsv",
        "logs/embedded/interpolation/training/suite-d4-w64.benchmark.tsv",
        "logs/embedded/pairwise/words/smollm2-135m.1.benchmark.tsv",
    } <= files
    assert len(files) == sum(each.jobs for each in works(study))


def test_the_report_says_the_total_and_what_it_is_of() -> None:
    result = table(work(), work(stage="plane"))
    shown = plan.report(
        result, machine(), light_jobs=5, clustering=100.0, texts=3e6, calibrated=12.0
    )
    total = cells(shown)["total", ""]
    assert (total["jobs"], total["points"], total["download"]) == ("9", "4 k", "3 MB")
    both = cells(shown)["m", "all"]
    assert (both["jobs"], both["points"]) == ("4", "4 k")
    seconds = (result["core_seconds"].sum() + 5 * 2 + 100) / 2
    assert shown[-1].startswith(f"{duration(seconds)} on 2 cores of this machine")


def test_the_plan_counts_all_jobs_of_the_study(again: Path, verified: str) -> None:
    """In the environment that it names, where the study was run by conda; it leaves no record."""
    conda = CONDA if shutil.which("conda") else []
    done = snakemake(again, "plan", *conda, *FEW)
    assert done.returncode == 0, done.stderr[-2000:]
    if conda:
        assert set(environments(again, done.stderr)) == {sha256(ROOT / "envs" / "audit.yaml")}
    dry = snakemake(again, *conda, "--dry-run", "--forceall", "--quiet", "rules", *FEW).stdout
    jobs = next(line.split()[1] for line in dry.splitlines() if line.startswith("total "))
    assert cells(done.stdout.splitlines())["total", ""]["jobs"] == jobs


@pytest.mark.workflow
def test_the_plan_of_the_paper_needs_no_network_and_is_the_one_in_docs(tmp_path: Path) -> None:
    done = snakemake(
        tmp_path, "plan", "--configfile", str(ROOT / "config.yaml"),
        "--config", "study=paper", "gpu=h100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "one h100 at an assumed 40%" in done.stdout
    text = COSTS.read_text(encoding="utf-8")
    message = text.partition("<!-- plan -->")[2].partition("<!-- end of plan -->")[0]
    result, written = cells(done.stdout.splitlines()), cells(message.splitlines())
    assert list(result) == list(written)
    for key, row in result.items():  # time and memory are the machine's
        for column in ("jobs", "points", "operations", "disk", "download"):
            assert row[column] == written[key][column], key


def test_the_plan_of_the_small_models_is_the_one_in_docs() -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"study": "paper-small"}
    study = Study.load(raw, ROOT)
    costs: defaultdict[str, Any] = defaultdict(lambda: defaultdict(lambda: Cost(0, 0)))
    budget = study.config.compute.memory_budget_mb * 2**20
    result = plan.table(
        works(study), study.shapes, sources(study), machine(costs=costs), budget=budget
    )
    shown = plan.report(
        result, machine(), light_jobs=0, clustering=0, texts=1e6 * texts(study), calibrated=0
    )
    text = COSTS.read_text(encoding="utf-8").partition("<!-- plan of paper-small -->")[2]
    text = text.partition("<!-- end of plan of paper-small -->")[0]
    planned, written = cells(shown), cells(text.splitlines())
    assert list(planned) == list(written)
    for key, row in planned.items():
        for column in ("points", "operations", "disk", "download"):
            assert row[column] == written[key][column], key


@pytest.mark.parametrize("kind", fused.FAMILIES)
def test_a_stand_in_of_each_fused_family_is_run_fused(kind: str) -> None:
    stand_in = calibration.stand_in(SHAPE.model_copy(update={"model_type": kind}), 2, torch.float32)
    assert stand_in.fused is not None


@pytest.mark.workflow
def test_a_model_of_unknown_shape_and_an_unknown_gpu_are_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "models: {m: {family: M, licence: MIT, source: {kind: hub, repository: me/mine}}}\n"
        "studies: {mine: {title: mine, experiments: {examples: [m]}}}\n"
    )
    done = snakemake(tmp_path, "plan", "--configfile", str(mine), "--config", "study=mine")
    assert done.returncode != 0
    assert "models.m: has no shape; give one" in done.stderr
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    with pytest.raises(UserError, match=r"gpu: no GPU 'h1000'; there is a100, h100"):
        load({**raw, "gpu": "h1000"})
    assert set(GPUS) >= {"a100", "h100"}
