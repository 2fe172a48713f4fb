"""A model on this disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stable_regions.base.files import sha256
from stable_regions.sources import packages
from stable_regions.sources.origin import ModelSource, file_stamps, on_disk
from stable_regions.study.fields import LocalPath

if TYPE_CHECKING:
    from stable_regions.study.config import Config


class Source(ModelSource):
    """A model on this disk: a folder as the Hugging Face hub lays it out, or a GGUF file."""

    kind: Literal["local"]
    """On this disk."""
    path: LocalPath
    """The folder or the file; `~` is the home folder."""

    def inputs(self, config: "Config") -> list[str]:
        return list(map(str, packages.model_files(on_disk(self.path))))  # so an edit is seen

    def origin(self, config: "Config") -> str:
        return str(on_disk(self.path))

    def place(self) -> str | None:
        return self.path

    def check_place(self, path: Path) -> None:
        packages.check_local(path)

    def file_stamps(self) -> dict[str, list[int]] | None:
        return file_stamps(packages.model_files(on_disk(self.path)))

    def configs(self, model: str) -> list[str]:
        return [f"{on_disk(self.path)}/config.json", *super().configs(model)]

    def make(self, folder: Path, origin: Path, package: Any) -> dict[str, Any]:
        if origin.is_dir():
            packages.link_local(origin, folder)
            return {}
        from stable_regions.sources import gguf_file

        gguf_file.convert_gguf(origin, folder)
        return {"gguf_sha256": sha256(origin)}
