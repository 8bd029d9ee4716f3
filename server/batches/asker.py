"""The contract with what answers a line: the routes' own code, without the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class TryLater(Exception):
    """The line cannot be answered now: a quota is used up, or a queue is full. Ask again after `after_s` seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"try again in {after_s} s")
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The answer to a line as its route would give it: a status of HTTP, and a body as JSON on one line."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a line asks: `body` for `endpoint`, with the rights that `owner` has now.

    `sticky_key` chooses a version of a weighted alias, so that a line asked again gets the same one.
    """

    request_id: str
    owner: str
    endpoint: str
    body: Mapping[str, Any]
    sticky_key: bytes


class LineAsker(Protocol):
    """Answers lines. Belongs to the event loop."""

    async def ask(self, ask: Ask) -> LineAnswer:
        """The answer to a line, an error body included. Raises `TryLater`."""
