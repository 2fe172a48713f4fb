"""A model in a PyPI package."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stable_regions.base.files import sha256
from stable_regions.base.progress import log
from stable_regions.models.shapes import Shape
from stable_regions.sources.origin import ModelSource
from stable_regions.study import paths
from stable_regions.study.fields import Name, check_known

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(ModelSource):
    """A model in a PyPI package, as a GGUF file."""

    way = "shared"
    kind: Literal["package"]
    """In a package of `packages`."""
    package: Name
    """The package, one of `packages`."""
    member: str
    """The path of the GGUF file in it."""

    def check(self, config: "Config", key: str, where: str) -> None:
        check_known("package", self.package, config.packages, f"{key}.package", where)

    def inputs(self, config: "Config") -> list[str]:
        return [paths.package(config.packages[self.package].file)]

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        return config.packages[self.package].model_dump()

    def make(self, folder: Path, origin: Path, package: Any) -> dict[str, Any]:
        from stable_regions.sources import gguf_file, packages

        packages.check_sha256(origin, package["sha256"])
        name, content = packages.member(origin, self.member)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            gguf = Path(scratch, Path(name).name)
            gguf.write_bytes(content)
            log.info("converting %s (%d MB) to safetensors", name, len(content) // 2**20)
            gguf_file.convert_gguf(gguf, folder)
            return {"package": package, "gguf_sha256": sha256(gguf)}

    def takes(self, config: "Config", shape: Shape, revisions: int) -> tuple[int, int]:
        packed = round(config.packages[self.package].megabytes * 10**6)
        return packed, packed + shape.kept
