"""What went wrong for the clients: each of it in a file as it happens, and told by kind at the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.system.soak.findings import Row, zero


class Wrong(Exception):
    """An answer that should not have been given."""


class FailureKind(StrEnum):
    """The values are rows of the report. A machine without free cores explains the last two, and never the first."""

    WRONG = "wrong answers"
    LATE = "answers that did not come within the client's time"
    LOST = "lost connections"


class Failures:
    """Writes each failure to a file of JSON lines at once. `path` is made anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: dict[FailureKind, list[str]] = {kind: [] for kind in FailureKind}
        self._file = path.open("w")
        self._began = asyncio.get_running_loop().time()

    def note(self, request: str, error: Wrong | httpx.HTTPError) -> None:
        """Keep a failure of a kind of request."""
        kind = _kind_of(error)
        text = f"{request}: {error!r}"
        self._texts[kind].append(text)
        time_s = round(asyncio.get_running_loop().time() - self._began, 1)
        json.dump({"time_s": time_s, "kind": kind, "failure": text}, self._file)
        self._file.write("\n")
        self._file.flush()

    def rows(self) -> Iterator[Row]:
        """A row for each kind, all of which must be 0, with the first failures of the kind."""
        return (zero(kind, len(texts), texts) for kind, texts in self._texts.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()


def _kind_of(error: Wrong | httpx.HTTPError) -> FailureKind:
    if isinstance(error, Wrong):
        return FailureKind.WRONG
    return FailureKind.LATE if isinstance(error, httpx.TimeoutException) else FailureKind.LOST
