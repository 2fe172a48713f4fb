"""What the steps of a run took."""

from pathlib import Path

from stable_regions.estimate.costs import cost_table

HEADER = "s\th:m:s\tmax_rss\tcpu_time\n"


def note(path: Path, seconds: str, memory: str, processor: str) -> Path:
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory}\t{processor}\n")
    return path


def test_jobs_of_a_stage_are_added_up_and_memory_is_the_largest(tmp_path: Path) -> None:
    notes = [note(tmp_path / "a.tsv", "3", "10", "5"), note(tmp_path / "b.tsv", "4", "30", "6")]
    [row] = cost_table({"training": notes}).to_dict("records")
    assert row == {
        "stage": "training", "jobs": 2, "seconds": 7, "processor_seconds": 11, "memory_mb": 30,
    }  # fmt: skip


def test_a_job_too_short_to_be_looked_at_has_no_memory_or_time(tmp_path: Path) -> None:
    [row] = cost_table({"tables": [note(tmp_path / "a.tsv", "0.1", "NA", "NA")]}).to_dict("records")
    assert (row["seconds"], row["processor_seconds"], row["memory_mb"]) == (0.1, 0, 0)


def test_jobs_without_notes_are_left_out(tmp_path: Path) -> None:
    notes = [note(tmp_path / "a.tsv", "3", "10", "5"), tmp_path / "gone.tsv"]
    table = cost_table({"planes": notes, "paths": [tmp_path / "gone too.tsv"]})
    assert list(table["stage"]) == ["planes"]
    assert table["jobs"].item() == 1
