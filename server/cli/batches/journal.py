"""The journal of `softprompt batch`: a small file beside the output, which says what the server was already asked.

It is written before each request to the server that must not be repeated, and removed when the output is complete. So a
command that was killed at any moment goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from server.cli.errors import FilesProblem


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known. `run` names the upload and the batch on the server before their ids are known."""

    run: str
    url: str
    input_sha256: str
    batch: str | None = None


class Journal:
    """The journal of one output file."""

    def __init__(self, path: Path, entry: Entry, *, is_new: bool) -> None:
        self._path = path
        self.entry = entry
        self.is_new = is_new

    @classmethod
    def open(cls, output: Path, url: str, data: bytes) -> Self:
        """Read the journal, or begin one. Raises FilesProblem for one of another input or another server."""
        path = output.with_name(f"{output.name}.journal")
        sha256 = hashlib.sha256(data).hexdigest()
        if not path.exists():
            journal = cls(path, Entry(uuid.uuid4().hex, url, sha256), is_new=True)
            journal._write()
            return journal
        try:
            entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise FilesProblem(f"{path} is no journal of this command; remove it to begin anew") from error
        if (entry.url, entry.input_sha256) != (url, sha256):
            raise FilesProblem(f"{path} is of another input or server; remove it to begin anew")
        return cls(path, entry, is_new=False)

    def note_batch(self, batch: str) -> None:
        """Note the id of the batch."""
        self.entry = replace(self.entry, batch=batch)
        self._write()

    def remove(self) -> None:
        """The output is complete, or nothing is left to wait for."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_whole(self._path, json.dumps(asdict(self.entry)).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file wholly or not at all, on disk when this returns. Raises FilesProblem."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FilesProblem(f"cannot write {path}: {error.strerror}") from error
