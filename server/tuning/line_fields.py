"""Checks of a line's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.tuning.errors import ExamplesRefused


def text_field(fields: Mapping[str, Any], name: str, line: int) -> str:
    """Return a field that holds a text with more than white space. Raises `ExamplesRefused`."""
    value = fields[name]
    if not isinstance(value, str):
        raise bad_line(f"has a {name} that is not a text", line)
    if not value.strip():
        raise bad_line(f"has an empty {name}", line)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise bad_line(f"has half of a surrogate pair in its {name}", line)
    return value


def bad_line(problem: str, line: int) -> ExamplesRefused:
    """The error for a bad line. `problem` is a sentence without its subject, the line."""
    return ExamplesRefused(problem, code="bad_line", line=line)
