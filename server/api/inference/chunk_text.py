"""The JSON of a stream's chunks."""

from __future__ import annotations

from collections.abc import Iterable

from server.api.responses.json_response import json_text
from server.api.wire.bodies import ResponseBody

_CHOICES = '"choices":['


class ChunkText:
    """Chunks that differ in their choices alone: what they have in common is written once.

    `empty` is such a chunk without choices.
    """

    def __init__(self, empty: ResponseBody) -> None:
        before, choices, self._after = json_text(empty).partition(_CHOICES)  # quotes within a value are escaped
        self._before = before + choices

    def of(self, choices: Iterable[ResponseBody]) -> str:
        """The chunk with these choices, as JSON on one line."""
        return f"{self._before}{','.join(map(json_text, choices))}{self._after}"
