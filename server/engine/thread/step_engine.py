"""The contracts of the thread: with an engine that computes in steps, and with its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.engine.client import EngineStats
from server.engine.events import EventSink
from server.engine.request import Kind, Request
from server.engine.usage import EngineUsage
from server.model.prefix import Prefix


class StepEngine(Protocol):
    """An engine without a thread. Only one thread calls it."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    @property
    def stats(self) -> EngineStats:
        """A snapshot between steps."""

    def read_usage(self) -> EngineUsage:
        """The holders of batch, queue and KV blocks between steps. It may cost a walk over all of them."""

    def add(self, request: Request[Kind], sink: EventSink) -> None:
        """Accept a request that passed `Limits.check`; its events go to `sink`, in order, one terminal event last."""

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """End a request, or one of its choices. Unknown ids and ended choices are ignored."""

    def step(self) -> None:
        """Compute one batch. Raises the device's error if the device is unusable for the rest of the process."""

    def check_device(self) -> None:
        """Raise the device's error if the device is unusable for the rest of the process; called after a failure."""


class Limits(Protocol):
    """What an engine takes. `max_open_requests` bounds the requests that are accepted and not yet answered."""

    @property
    def max_open_requests(self) -> int:
        """Requests that may be open at once."""

    @property
    def max_sequence_tokens(self) -> int:
        """Positions that one sequence can always have: virtual tokens, prompt and output together."""

    def check(self, request: Request[Kind]) -> None:
        """Raise `RequestRefused` for a request that could never be served."""

    def check_together(self, prefixes: Sequence[Prefix | None]) -> None:
        """Raise `RequestRefused` for requests that could never be served together, by their prefixes: one each."""
