"""A stand-in for the Hugging Face hub on loopback: what its client needs to download."""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

API = re.compile(r"/api/(models|datasets)/([^/]+(?:/[^/]+)?)/(revision|tree)/([^/]+)")
FILE = re.compile(r"/(datasets/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """Folders by the name of their revision; with a token, only its bearer gets the files.

    A revision that `moves` is another folder as soon as its tokenizer has been fetched.
    """

    revisions: dict[str, Path]
    token: str | None = None
    moves: dict[str, Path] = field(default_factory=dict)

    def commit(self, revision: str) -> str:
        """A revision's commit: the revision itself if it looks like one."""
        if re.fullmatch("[0-9a-f]{40}", revision):
            return revision
        return hashlib.sha1(str(self.revisions[revision]).encode()).hexdigest()

    def listed_name(self, name: str) -> str:
        """What the hub says that a file is called."""
        return name

    def fetched(self, commit: str, file: str) -> None:
        """Note that a file was sent."""
        for name in [name for name in self.moves if commit == self.commit(name)]:
            if file == "tokenizer.json":
                before = {f"{name} before": self.revisions[name]}
                self.revisions = {**self.revisions, **before, name: self.moves.pop(name)}

    def folder(self, revision: str) -> Path | None:
        """What a revision or a commit holds."""
        by_commit = {self.commit(name): folder for name, folder in self.revisions.items()}
        return self.revisions.get(revision) or by_commit.get(revision)


@dataclass
class Hub:
    """What the stand-in serves, and what it was asked for."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    withheld: set[str] = field(default_factory=set)  # names of files that break off
    seconds: float = 0  # that each file takes
    broken: dict[str, int] = field(
        default_factory=dict
    )  # bytes after which a file breaks off, once
    ranges: list[str] = field(default_factory=list)  # names of files, and the bytes asked of them
    spared: int = 0  # requests that are answered before
    limited: int = 0  # requests that are answered with "too many", and to come again in a second
    limits: str = ""  # what is in the paths of these requests

    def environment(self, home: Path, **changes: str) -> dict[str, str]:
        """The environment of a process that has this hub, a cache of its own and no account."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGINGFACE"))}
        return kept | {"HF_ENDPOINT": self.url, "HF_HOME": str(home)} | changes

    def files(self) -> list[str]:
        """The names of the files that were downloaded, one for each time."""
        return [path.rpartition("/")[2] for path in self.asked if path.startswith("GET /")]


def _handler(hub: Hub) -> type:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(
            self, status: int, body: bytes = b"", sent: int | None = None, **headers: str
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:sent])

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if hub.spared:
                hub.spared -= 1
            elif hub.limited and hub.limits in path:
                hub.limited -= 1
                return self.answer(429, Retry_After="1")
            if result := API.fullmatch(path):
                return self.describe(*map(unquote, result.groups()))
            if result := FILE.fullmatch(path):
                hub.asked.append(f"{self.command} {unquote(path)}")
                return self.send_file(*map(unquote, result.groups()[1:]))
            return self.answer(404)

        do_HEAD = do_GET

        def describe(self, kind: str, name: str, what: str, revision: str) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                return self.answer(404, X_Error_Code="RepoNotFound")
            folder = repository.folder(revision)
            if folder is None:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            body: Any = {"id": name, "sha": repository.commit(revision), "siblings": []}
            if what == "tree":
                body = [
                    {
                        "type": "file",
                        "path": repository.listed_name(str(path.relative_to(folder))),
                        "size": path.stat().st_size,
                        "oid": etag(path),
                    }
                    for path in files
                ]
            return self.answer(200, json.dumps(body).encode(), Content_Type="application/json")

        def send_file(self, name: str, revision: str, file: str) -> None:
            repository = hub.repositories[name]
            bearer = self.headers.get("Authorization")
            if file in ("README.md", ".gitattributes"):  # of a gated one too
                bearer = f"Bearer {repository.token}"
            if repository.token and bearer is None:
                return self.answer(401, X_Error_Code="GatedRepo")
            if repository.token and bearer != f"Bearer {repository.token}":
                refused = "Invalid credentials in Authorization header"
                return self.answer(401, X_Error_Message=refused)
            folder = repository.folder(revision)
            path = folder / file if folder else None
            if path is None or not path.is_file():
                return self.answer(404, X_Error_Code="EntryNotFound")
            if path.name in hub.withheld and self.command == "GET":
                return self.answer(403)
            if self.command == "GET":
                time.sleep(hub.seconds)
            headers = {"ETag": f'"{etag(path)}"', "X_Repo_Commit": repository.commit(revision)}
            body = path.read_bytes()
            if self.command == "GET" and path.name in hub.broken:
                self.close_connection = True
                return self.answer(200, body, hub.broken.pop(path.name), **headers)
            if asked := self.headers.get("Range"):
                hub.ranges.append(f"{path.name} {asked}")
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                return self.answer(206, body[start:], **headers)
            self.answer(200, body, **headers)
            if self.command == "GET":
                repository.fetched(revision, file)

    return Handler


def etag(path: Path) -> str:
    """As the hub has it: the SHA-256 of a large file, another hash of a small one."""
    large = path.suffix in (".safetensors", ".parquet", ".bin")
    return (hashlib.sha256 if large else hashlib.sha1)(path.read_bytes()).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """Run the stand-in on a free port of this machine."""
    hub = Hub("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def visited(url: str, cache: Path) -> Iterator[None]:
    """Let this process's client ask the hub at `url`, with a cache of its own and no account."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    with (
        patch.multiple(
            constants,
            ENDPOINT=url,
            HUGGINGFACE_CO_URL_TEMPLATE=template,
            HF_HUB_CACHE=str(cache),
            HF_TOKEN_PATH=str(cache / "token"),
        ),
        patch.dict(os.environ),
    ):
        os.environ.pop("HF_TOKEN", None)
        yield
