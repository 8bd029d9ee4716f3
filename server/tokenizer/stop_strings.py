"""Stop strings, found across token borders."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes text on until a stop string is complete.

    Text that may begin a stop string is held back until it is decided. The result does not depend on the pieces of
    the text: the stop string that is complete first wins, and of several the one that began first.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(dict.fromkeys(stop))
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Text that may now be passed on; after a match `stopped` is set and nothing more comes."""
        if self.stopped or not self._stop:
            return "" if self.stopped else text
        text = self._held + text
        start = self._first_match(text)
        if start is not None:
            self.stopped, self._held = True, ""
            return text[:start]
        keep = len(text) - self._undecided(text)
        self._held = text[keep:]
        return text[:keep]

    def flush(self) -> str:
        """The text held back, once no more text comes."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, text: str) -> int | None:
        matches = [(start + len(stop), start) for stop in self._stop if (start := text.find(stop)) >= 0]
        return min(matches)[1] if matches else None

    def _undecided(self, text: str) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = min(max(map(len, self._stop)) - 1, len(text))
        for length in range(longest, 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0
