"""The engine's face towards the event loop: a contract, so that the API is tested against a scripted engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from server.engine.request import EngineEvent, Request


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot of the engine's state, taken by the engine thread after its latest step."""

    num_waiting: int
    num_running: int
    num_blocks: int
    num_free_blocks: int
    num_resident_prefixes: int
    num_leases: int
    num_steps: int
    num_preemptions: int
    num_prefix_loads: int
    num_prefix_evictions: int = 0
    num_prefix_blocks: int = 0
    num_step_tokens: int = 0
    num_step_failures: int = 0
    num_out_of_memory: int = 0


class EngineClient(Protocol):
    """What the API asks of an engine.

    `stream` checks the request before it returns (raising `RequestRefused`, `EngineOverloaded` or `EngineStopped`) and
    yields its events in order. The last is terminal: `RequestFinished`, `Scored` or `RequestFailed`. Closing the
    iterator early (`aclose`, cancelling its consumer, or dropping it) aborts what is still running.
    """

    def running(self) -> AbstractAsyncContextManager[None]:
        """Compute while the context is open; what is unfinished when it closes is cut off."""

    def stream(self, request: Request) -> AsyncIterator[EngineEvent]:
        """Accept a request and answer with its events."""

    def check(self, requests: Sequence[Request]) -> None:
        """Raise what `stream` would of any of these, and `PrefixTooLarge` for soft prompts that could never be resident
        at once."""

    def check_servable(self, request: Request) -> None:
        """Raise `RequestRefused` for what could never be served, however little there is to do."""

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """End a whole request, or one of its choices (a stop string was found). Unknown ids are ignored.

        An aborted choice ends with `ChoiceFinished(choice, ABORTED)` unless it had ended before.
        """

    def cut_off(self) -> None:
        """End every open request at once, with `RequestFailed` by `EngineStopped`."""

    @property
    def max_context(self) -> int:
        """Most positions a sequence may take: virtual tokens, prompt and output together."""

    @property
    def stats(self) -> EngineStats:
        """The latest snapshot."""

    @property
    def is_alive(self) -> bool:
        """Whether the engine thread runs and has not wedged."""

    @property
    def is_wedged(self) -> bool:
        """Whether the engine thread has been at one thing for far too long."""
