"""Ctrl-C and SIGTERM during work that must not stop halfway."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While the context is open, the first signal sets `is_wanted`; the next one raises KeyboardInterrupt at once.

    `is_at_once` is then True, and the interrupted work may be half done.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self.is_at_once = False
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._note) for number in _SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_wanted:
            self.is_at_once = True
            raise KeyboardInterrupt
        self.is_wanted = True
