"""What is said of long work, and of files that are too much: rates, times, numbers."""

import logging
import time
from pathlib import Path

import pytest

from stable_regions.base.errors import UserError, first_line
from stable_regions.base.progress import Progress, amount, duration
from stable_regions.base.yaml_file import read_yaml


def test_what_is_left_follows_from_the_rate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress("sweeping", 200, "points")
    with caplog.at_level(logging.INFO):
        for at in (105.0, 110.0, 115.0, 140.0):  # told every ten seconds, and at the end
            now[0] = at
            progress.advance(50)
    assert caplog.messages == [
        "sweeping: 100 of 200 points, 10 a second, 10 s left",
        "sweeping: 200 of 200 points, 5 a second, 0 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (12_000, "3 h 20 min"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_amounts_as_a_person_reads_them() -> None:
    assert [amount(x, "B") for x in (0, 999, 1000, 1.7e9)] == ["", "999 B", "1 kB", "1.7 GB"]


def test_of_anothers_error_two_hundred_characters_are_told() -> None:
    assert first_line(ValueError("a " * 300)) == "a " * 98 + "..."
    assert first_line(ValueError("one:\n  two\nthree")) == "one: two"
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError("")) == "ValueError"


@pytest.mark.parametrize(
    ("last", "said"), [("&k [*j]", r"stands for [\d.]+e\+1\d values"), ("&k [*k]", "for no end of")]
)
def test_aliases_that_stand_for_too_much_are_counted(tmp_path: Path, last: str, said: str) -> None:
    lists = [f"a: &a [{', '.join('1' * 10)}]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):  # ten times as many values each
        lists.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    path = tmp_path / "many.yaml"
    path.write_text("\n".join([*lists, f"k: {last}"]), encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_yaml(path)
