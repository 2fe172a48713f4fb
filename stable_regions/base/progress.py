"""Progress as one line every few seconds: work done, rate, time left."""

import logging
import time

log = logging.getLogger("stable_regions")


class Progress:
    """Reports the progress of `total` units of work to the log.

    It exists so that every long loop says the same things in the same words.
    """

    def __init__(self, what: str, total: int, unit: str, every: float = 10.0) -> None:
        self.what, self.total, self.unit, self.every = what, total, unit, every
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, units: int) -> None:
        """Note that `units` more are done."""
        self.done += units
        now = time.monotonic()
        if now - self.last >= self.every or self.done == self.total:
            self.last = now
            rate = self.done / max(now - self.start, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            log.info(
                "%s: %d of %d %s, %.3g a second, %s left",
                self.what, self.done, self.total, self.unit, rate, duration(left),
            )  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds in words: `48 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(number: float, unit: str) -> str:
    """A number as a person reads it: `1.2 M`, `34 k`, `1.7 GB`; nothing for zero."""
    if not number:
        return ""
    prefixes = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, prefix = next(((s, p) for s, p in prefixes if number >= s), (1.0, ""))
    return f"{number / size:.3g} {prefix}{unit}".strip()
