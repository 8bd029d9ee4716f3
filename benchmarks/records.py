"""Measurements as lines of JSON: tables and plots are made from these, whenever they were taken."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One measured figure.

    `measure` says what (its unit ends the name), `subject` of whom. `round` joins what was measured side by side:
    ratios are taken within a round. `x` is the place on a curve. `notes` go into the table's remarks.
    """

    measure: str
    subject: str
    model: str
    threads: int
    round: str
    value: float
    x: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def append(path: Path, records: Iterable[Record]) -> None:
    """Add records to a file, made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(record)) + "\n" for record in records)


def read(path: Path) -> list[Record]:
    """All records of a file, in order; none where there is no file."""
    if not path.exists():
        return []
    return [Record(**json.loads(line)) for line in path.read_text().splitlines()]
