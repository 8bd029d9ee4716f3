"""An observer that tests ask what it saw."""

from __future__ import annotations


class Begun:
    """Notes which requests begin, and nothing else of them."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def begin(self, request):
        """See `EngineObserver`."""
        self.ids.append(request.request_id)
        return self

    def event(self, event):
        """See `RequestObserver`."""

    def end(self, *, is_aborted):
        """See `RequestObserver`."""
