"""Files of examples on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.errors import FilesProblem

if TYPE_CHECKING:
    from server.tuning.examples import ExampleSet

_CHUNK_BYTES = 1 << 20


def read_example_file(path: Path) -> ExampleSet:
    """Read a file of examples in chunks. Raises FilesProblem, also for its content."""
    from server.tuning.errors import ExamplesRefused
    from server.tuning.examples import read_examples

    try:
        return read_examples(_chunks(path))
    except ExamplesRefused as error:
        raise FilesProblem(f"{path}: {error}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise FilesProblem(f"cannot read {path}: {error.strerror}") from error
