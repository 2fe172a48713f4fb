"""GPUs: whether there is one here, and those that an estimate can be made for."""

from dataclasses import dataclass
from pathlib import Path


def here() -> bool:
    """Whether this machine has an NVIDIA GPU; checked without torch, which is slow to import."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


@dataclass(frozen=True)
class Gpu:
    """A GPU by its maker's data sheet: TFLOP/s in float32 without tensor cores, GB of memory."""

    name: str
    tflops: float
    memory: int

    # What of the peak a sweep reaches. Assumed: it has not been measured on these.
    REACHED = 0.4

    def seconds(self, operations: int) -> float:
        """Seconds of so many operations in float32."""
        return operations / (self.tflops * 1e12 * self.REACHED)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("t4", 8.1, 16), Gpu("v100", 15.7, 32), Gpu("a100", 19.5, 80), Gpu("l40s", 91.6, 48),
        Gpu("rtx4090", 82.6, 24), Gpu("h100", 67.0, 80),
    )
}  # fmt: skip
