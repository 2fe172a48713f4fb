"""The workflow on a real Slurm: the study, a job that fails, one that is cancelled."""

import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from stable_regions.audit.records import load_records
from stable_regions.base.errors import errors_since, log_times
from tests import documents, slurm
from tests.tiny_study import CONFIG, QUEUE, ROOT

# What comes after all tables is one entry.
PAPER = {
    "figure", "claims", "deviations", "numbers", "explorer", "paper", "manifest", "crate",
}  # fmt: skip


def test_the_errors_that_new_logs_tell_of(tmp_path: Path) -> None:
    logs = {
        "old": "12:00:00 error: before",
        "well": "12:00:00 2 errors of 3",
        "failed": "12:00:00 error: first\nTraceback\n12:00:01 error: bad (traceback in x)\n",
        "unimported": (
            '[job] begins\nTraceback (most recent call last):\n  File "a.py"\n    import b\n'
            "ModuleNotFoundError: No module named 'b'\nRuleException:\n"
            "Command 'python a.py' returned non-zero exit status 1.\n"
        ),
        "misspelt": '  File "/x/a.py", line 3\n    x = = 1\n        ^\nSyntaxError: bad\nRule\n',
        "crashed": "RuleException:\nCommand 'python a.py' died with <Signals.SIGSEGV: 11>.\nend",
        "in_a_shell": "Command 'python a.py' returned non-zero exit status 139.",
        "killed": "[train] error: no\nslurmstepd-n1: error: *** JOB 5 ON n1 CANCELLED ***\nrest",
    }
    for name, text in logs.items():
        (tmp_path / f"{name}.log").write_text(text)
    folders = [tmp_path, tmp_path / "none"]
    before = log_times(folders)
    for name in set(logs) - {"old"}:  # written with a clock that was set back
        os.utime(tmp_path / f"{name}.log", (0, 0))
    assert errors_since(folders, before) == [
        f"{tmp_path}/crashed.log: error: died with <Signals.SIGSEGV: 11>",
        f"{tmp_path}/failed.log: error: bad (traceback in x)",
        f"{tmp_path}/in_a_shell.log: error: returned non-zero exit status 139",
        f"{tmp_path}/killed.log: error: *** JOB 5 ON n1 CANCELLED ***",
        f"{tmp_path}/misspelt.log: error: SyntaxError: bad",
        f"{tmp_path}/unimported.log: error: ModuleNotFoundError: No module named 'b'",
    ]


def plan(folder: Path, *arguments: str) -> str:
    """What a dry run prints; it needs no Slurm."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
         "--directory", str(folder), "--dry-run", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.workflow
def test_a_thousand_shards_are_not_a_thousand_entries(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump({"compute": {"shard_points": 50}}))
    planned = plan(
        tmp_path, "--workflow-profile", "profiles/slurm", "--configfile", str(config), "--",
        "results/embedded/interpolation/sharpness/smollm2-135m.parquet",
    )  # fmt: skip
    assert re.search(r"^interpolate_shards +1000$", planned, re.MULTILINE)
    assert planned.count("Group job measure-smollm2-135m ") == 1000 / 20


def test_the_profile_puts_rules_in_groups_that_are_there() -> None:
    """Snakemake takes no notice of a group of an unknown rule."""
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    grouped = {line.partition("=")[0] for line in profile["groups"]}
    assert len(grouped) == len(profile["groups"])
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert grouped <= set(re.findall(r"^(?:use )?rule (?:\w+ as )?(\w+)[: ]", rules, re.MULTILINE))
    assert grouped >= PAPER


def submit(folder: Path, *arguments: str, config: Path = CONFIG, seconds: int = 600) -> str:
    """Run to the end on Slurm, and give what was printed, and the exit status in a last line."""
    given = [] if "--configfile" in arguments else ["--configfile", str(config)]
    command = slurm.command(folder, *given, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    return f"{done.stdout}{done.stderr}\nexit status {done.returncode}"


def entries(printed: str) -> list[str]:
    """The numbers of the entries that a run made in the queue."""
    return re.findall(r"submitted with SLURM jobid (\d+)", printed)


def known(printed: str, what: str) -> list[str]:
    """What Slurm knows of a run's entries; it forgets them some minutes after they ended."""
    listing = ["squeue", "--noheader", "--states", "all", "--sort", "i", "--format", what]
    done = subprocess.run(
        [*listing, "--jobs", ",".join(entries(printed))], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def run(queued: Path) -> tuple[Path, str]:
    """A folder in which a part of the tiny study was run on Slurm, and what that printed."""
    return queued, (queued / "printed").read_text()


@pytest.fixture
def beside(run: tuple[Path, str], tmp_path: Path) -> Path:
    """A folder with the sources and resources of that run, and none of its results."""
    for name in ("sources", "resources"):
        shutil.copytree(run[0] / name, tmp_path / name, symlinks=True)
    return tmp_path


@pytest.mark.slurm
def test_the_study_runs_in_the_queue(run: tuple[Path, str]) -> None:
    folder, printed = run
    assert (folder / "results/queue/paper.pdf").read_bytes().startswith(b"%PDF")
    records = load_records(folder / "logs")
    assert {"train", "clusters", "independent_check", "paper"} <= {
        record["rule"] for record in records
    }
    submitted = {record["slurm_job"] for record in records}
    assert None not in submitted  # nothing but downloads is done where Snakemake runs
    assert submitted == set(entries(printed))


@pytest.mark.slurm
def test_jobs_share_entries(run: tuple[Path, str]) -> None:
    folder, printed = run
    records = load_records(folder / "logs")
    assert len(entries(printed)) < len(records) / 2

    def measured(model: str) -> list[str]:
        return [
            record["slurm_job"]
            for record in records
            if "experiment" in record["wildcards"] and record["wildcards"].get("job") == model
        ]

    alike = measured("tiny-llama")
    assert len(alike) > slurm.ALIKE
    assert len(set(alike)) == math.ceil(len(alike) / slurm.ALIKE)
    other_model = measured("tiny-random")
    assert len(other_model) >= 2
    assert set(alike).isdisjoint(other_model)
    assert len({r["slurm_job"] for r in records if r["rule"] in PAPER}) == 1


def asked(folder: Path, rule: str) -> tuple[int, str]:
    """How many jobs share the entry of a rule's first job, and what that asked Slurm for."""
    records = load_records(folder / "logs")
    entry = next(record["slurm_job"] for record in records if record["rule"] == rule)
    shown = (folder / "entries").read_text().partition(f"JobId={entry} ")[2].partition("JobId=")[0]
    return sum(record["slurm_job"] == entry for record in records), shown


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("rule", "shares", "minutes", "memory"),
    [("paper", True, 10, 4000), ("independent_check", False, 22, 1533)],
)
def test_a_group_asks_for_its_jobs_one_after_another(
    run: tuple[Path, str], rule: str, shares: bool, minutes: int, memory: int
) -> None:
    """For the memory and the cores of the largest, and for the time of all.

    A job that runs models says what it needs, here eleven minutes for each of two, and 1.5 GB
    beside weights and twice the budget of 16 MiB; for others the profile does.
    """
    jobs, shown = asked(run[0], rule)
    hours, rest = divmod(jobs * minutes, 60)
    assert (jobs > 1) == shares
    assert f" TimeLimit={hours:02}:{rest:02}:00 " in shown
    assert " NumCPUs=1 " in shown
    assert f" MinMemoryNode={memory}M " in shown


@pytest.mark.slurm
def test_a_failed_job_is_tried_with_more_and_then_told_in_one_line(beside: Path) -> None:
    overlay = yaml.safe_load(CONFIG.read_text())
    overlay["prompts"]["tiny"]["count"] = 100_000
    config = beside / "wrong.yaml"
    config.write_text(yaml.safe_dump(overlay))
    printed = submit(
        beside, "--", "results/tiny/prompts/tiny/tiny-llama.pairs.parquet", config=config
    )
    assert printed.endswith("exit status 1")
    error_lines = [line for line in printed.splitlines() if "error: " in line]
    message = "error: the corpus has 569 chunks of 10 tokens; 100000 prompts are asked for"
    assert error_lines == [f"logs/tiny/prompts/tiny/tiny-llama.log: {message}"]
    assert "Traceback" not in printed
    assert known(printed, "%T|%m|%l") == ["FAILED|4000M|10:00", "FAILED|8000M|20:00"]


@pytest.mark.slurm
def test_each_job_goes_to_the_partition_that_fits_it(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of them, as the guide says: one that runs a model asks for more than ten minutes."""
    names = subprocess.run(["sinfo", "-h", "-o", "%P"], capture_output=True, text=True, check=True)
    [default] = [name[:-1] for name in names.stdout.split() if name.endswith("*")]
    listed = {default: {"max_runtime": 10}, "of-a-day": {"max_runtime": 1440}}
    (beside / "partitions.yaml").write_text(yaml.safe_dump({"partitions": listed}))
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(beside / "partitions.yaml"))
    printed = submit(
        beside, "--retries", "0", "--", "results/tiny/activations/tiny/tiny-llama.safetensors"
    )
    assert known(printed, "%T|%P") == [f"COMPLETED|{default}"]  # draws the prompts
    [line] = [line for line in printed.splitlines() if "sbatch failed" in line]
    assert line.startswith("activations-tiny-llama: ")
    assert "invalid partition specified: of-a-day" in line


@pytest.mark.slurm
def test_a_cancelled_job_is_told_and_taken_up_again(beside: Path) -> None:
    """Of a group, what was done stays."""
    (beside / "resources/corpora/tiny.parquet").unlink()
    targets = [
        "results/tiny/prompts/tiny/tiny-llama.pairs.parquet",
        "resources/corpora/tiny.parquet",
    ]
    with (beside / "printed").open("w") as printed:
        running = subprocess.Popen(
            slurm.command(beside, "--retries", "0", "--", *targets),
            stdout=printed, stderr=subprocess.STDOUT,
        )  # fmt: skip
        record = beside / "logs/fetch/corpus-tiny.record.json"
        until = time.monotonic() + 120
        while not record.exists() and time.monotonic() < until:
            time.sleep(0.2)
        first = (beside / "printed").read_text()
        subprocess.run(["scancel", *entries(first)], check=True)
        assert running.wait(120) == 1
    error_lines = (beside / "printed").read_text()
    [job] = entries(error_lines)
    [line] = [line for line in error_lines.splitlines() if "error: " in line]
    message = rf"\S+/{job}\.log: error: \*\*\* (JOB|STEP) {job}\S* ON \S+ CANCELLED AT .*"
    assert re.fullmatch(message, line)
    before = record.read_bytes()
    assert submit(beside, "--", *targets).endswith("exit status 0")
    assert record.read_bytes() == before
    assert (beside / targets[0]).exists()


@pytest.mark.slurm
def test_a_gpu_is_asked_for_by_what_runs_a_model_alone(queued: Path) -> None:
    """This Slurm has none, so it refuses; the reason is told."""
    kinds = subprocess.run(["sinfo", "-h", "-o", "%G"], capture_output=True, text=True, check=True)
    if "gpu" in kinds.stdout:
        pytest.skip("this Slurm has GPUs")
    options = documents.conda()  # as it was run: nothing else is to be done
    printed = submit(
        queued, *options, *QUEUE, "--retries", "0", "--config", "compute={device: cuda}", "--",
        "results/queue/activations/tiny/tiny-llama.safetensors",
    )  # fmt: skip
    assert printed.endswith("exit status 1")
    [line] = [line for line in printed.splitlines() if "sbatch failed" in line]
    assert line.startswith("activations-tiny-llama: ")
    assert "Invalid generic resource" in line
