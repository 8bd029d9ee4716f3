"""Files that a browser runs, in memory: a request for one reads no disk, and only the first compresses it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

PAGE = Path(__file__).with_name("static")
API_PAGE = Path(__file__).with_name("docs")
INDEX = "index.html"

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class WebFile:
    """A file of a page. `digest` is the SHA-256 of its content, in hexadecimal."""

    content: bytes
    content_type: str
    digest: str

    @cached_property
    def gzipped(self) -> bytes:
        """The content, compressed. That takes up to 50 ms, so it waits for the first browser, and needs a thread."""
        return gzip.compress(self.content, mtime=0)


@cache
def read_files(folder: Path) -> Mapping[str, WebFile]:
    """The files of a page, `PAGE` or `API_PAGE`, by their path. Licences and the like are no part of it."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _CONTENT_TYPES)
    return {path.relative_to(folder).as_posix(): _read(path) for path in paths}


def _read(path: Path) -> WebFile:
    content = path.read_bytes()
    return WebFile(
        content=content,
        content_type=_CONTENT_TYPES[path.suffix],
        digest=hashlib.sha256(content).hexdigest(),
    )
