"""A run as a person watches it: how far it is, what runs, how long still, what there is to see."""

import io
import logging
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stable_regions.base.files import read_json
from stable_regions.base.progress import amount, duration
from stable_regions.estimate.capacity import memory_here

LIGHT = (
    4.0  # seconds that a job is expected to take which runs no model: it starts, reads and writes
)
SHOWN = (".pdf", ".html")  # of what a job makes, what a person would open
COUNTED = re.compile(r": ([0-9]+) of ([0-9]+) ")  # how `Progress` says it
# How Snakemake says that a job was killed by what it cannot catch: by itself, or through a shell.
KILLED = re.compile(r"<Signals\.SIGKILL|exit status 137\b")
# How a cluster's executor says under what number a job waits in a queue.
SUBMITTED = re.compile(r"submitted .*job ?id", re.IGNORECASE)


@dataclass
class Running:
    """A job at work."""

    rule: str
    message: str
    log: Path | None
    outputs: list[str]
    megabytes: float = 0.0  # of memory that it asks for
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.since

    def last_line(self) -> str:
        """What it last wrote to its log, without the time of day."""
        if self.log is None:
            return ""
        try:  # the job may be putting another in its place
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1].partition(" ")[2].strip() if lines else ""

    def share(self) -> float:
        """How much of it is done, from 0 to 1, as far as its log says."""
        counted = COUNTED.search(self.last_line())
        return int(counted[1]) / max(int(counted[2]), 1) if counted else 0.0


class Watch(logging.Handler):
    """Shows a run by Snakemake's events: a line a job that ends and, on a terminal, what runs.

    Parameters
    ----------
    expected
        Seconds that a job of a rule is expected to take, by the rule's name, `LIGHT` for others.
        Only their ratios count: what is left is reckoned from what the run has taken so far.
    stream
        Where it is shown, if not on stderr.

    Notes
    -----
    Snakemake's own lines are in its log file. On the screen the handler takes the place of another
    one, `instead`: it passes on warnings, errors, and the numbers that jobs have in a queue.
    """

    def __init__(self, expected: Mapping[str, float], stream: io.TextIOBase | None = None) -> None:
        super().__init__()
        self.expected = expected
        self.stream: Any = stream or sys.stderr
        self.total = self.done = 0.0
        self.running: dict[int, Running] = {}
        self.started: float | None = None
        self.live: Any = None
        self.instead: logging.Handler | None = None
        self.killed = False  # what failed last, which Snakemake names next

    def start(self, instead: logging.Handler) -> None:
        """Begin to show the run, in place of another handler."""
        self.started, self.instead = time.monotonic(), instead
        instead.addFilter(self._is_left)
        if self.stream.isatty():
            from rich.console import Console  # only a terminal needs it
            from rich.live import Live

            self.live = Live(
                get_renderable=self._view, console=Console(file=self.stream), transient=True,
                refresh_per_second=1, redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self.live.start()

    def stop(self) -> None:
        """End it: what follows is shown as it was before."""
        if self.live is not None:
            self.live.stop()
            self.live = None
        if self.instead is not None:
            self.instead.removeFilter(self._is_left)
            self.instead = None

    def _is_left(self, record: logging.LogRecord) -> bool:
        """Whether the other handler shows it: with a live view this one does."""
        return self.live is None and _passes_on(record)

    def emit(self, record: logging.LogRecord) -> None:
        event = str(getattr(record, "event", ""))
        if event == "run_info":
            jobs = {rule: n for rule, n in record.stats.items() if rule not in ("total", "all")}  # type: ignore[attr-defined]
            self.total = sum(n * self.seconds(rule) for rule, n in jobs.items())
        if self.instead is None:
            return
        if event == "job_info":
            self._begin(record)
        elif event == "job_finished":
            self._end(record.job_id)  # type: ignore[attr-defined]
        elif event == "job_error" and self.killed and record.jobid in self.running:  # type: ignore[attr-defined]
            self._tell_killed(record.jobid)  # type: ignore[attr-defined]
        elif _passes_on(record) and self.live is not None:
            self.say(self.instead.format(record))
        if event == "error":
            self.killed = bool(KILLED.search(record.getMessage()))

    def seconds(self, rule: str) -> float:
        """What a job of a rule is expected to take."""
        return self.expected.get(rule, LIGHT)

    def share(self) -> float:
        """How much of the work is done, from 0 to 1."""
        begun = sum(job.share() * self.seconds(job.rule) for job in self.running.values())
        return min((self.done + begun) / self.total, 1.0) if self.total else 0.0

    def left(self) -> str:
        """How long the rest may take, once enough is done to tell."""
        share = self.share()
        if self.started is None or share < 0.02:
            return ""
        rest = (time.monotonic() - self.started) * (1 - share) / share
        words = duration(rest if rest < 120 else 60 * round(rest / 60))
        return f"about {words.removesuffix(' 0 s')} left"

    def say(self, line: str) -> None:
        """Show a line that stays."""
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self.stream, flush=True)

    def _begin(self, record: Any) -> None:
        logs = [Path(str(path)) for path in record.log or ()]
        message = record.rule_msg or record.rule_name
        outputs = [str(path) for path in record.output or ()]
        megabytes = getattr(getattr(record, "resources", None), "mem_mb", 0)
        self.running[record.jobid] = Running(
            record.rule_name, message, logs[0] if logs else None, outputs,
            megabytes if isinstance(megabytes, int) else 0,
        )  # fmt: skip
        if not outputs and self.live is not None:  # its output is what it prints
            self.live.stop()
            self.live = None

    def _end(self, number: int) -> None:
        if (job := self.running.pop(number, None)) is None or job.rule == "all":
            return
        self.done += self.seconds(job.rule)
        made = [path for path in job.outputs if path.endswith(SHOWN)][:1]
        words = [f"{self.share():4.0%}", self.left(), job.message, duration(job.seconds), *made]
        self.say(" · ".join(word for word in words if word))

    def _tell_killed(self, number: int) -> None:
        """Say of a job that was killed what it most likely lacked; it could not say so itself."""
        self.killed = False
        job = self.running.pop(number)
        asked = f"it asks for {amount(job.megabytes * 1e6, 'B')}" if job.megabytes else ""
        here = f"{amount(memory_here(), 'B')} are there for all"
        self.say(
            f"error: {job.message}: was killed, most likely for lack of memory "
            f"({', '.join(filter(None, [asked, here]))}): close other programs, or run fewer jobs "
            "at a time with --cores"
        )

    def _view(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(padding=(0, 1))
        share = self.share()
        bar.add_row(
            ProgressBar(total=1.0, completed=share, width=40),
            f"{share:.0%} of the work",
            self.left(),
        )
        jobs = Table.grid(padding=(0, 2))
        for job in list(self.running.values()):
            jobs.add_row(Text(job.message), duration(job.seconds), Text(job.last_line()[:100]))
        return Group(bar, jobs)


def _passes_on(record: logging.LogRecord) -> bool:
    """Whether a line of Snakemake's is shown: a warning, an error, or a job's number in a queue."""
    return record.levelno >= logging.WARNING or bool(SUBMITTED.search(record.getMessage()))


def closing(results: Path, compared: Path) -> list[str]:
    """What a finished study has to show: where it lies, what it found, and what can be done next.

    Parameters
    ----------
    results
        The study's folder.
    compared
        How it compares with the reference, where one is kept.
    """
    counts: dict[str, int] = {}
    for claim in read_json(results / "claims.json"):
        verdict = claim["verdict"].partition(":")[0]  # without what it needs
        counts[verdict] = counts.get(verdict, 0) + 1
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    figures = len(list((results / "figures").glob("*.pdf")))
    lines = [
        f"The paper: {results / 'paper.pdf'}; the page to explore: {results / 'explorer.html'}",
        f"{figures} figures with their numbers: {results / 'figures'}",
        f"Claims: {verdicts} ({results / 'claims.json'})",
    ]
    if compared.exists():
        lines.append(f"Against the reference: {read_json(compared)['line']}")
    return [*lines, "Next: open the page, run `snakemake verify`, or add a model (README)"]
