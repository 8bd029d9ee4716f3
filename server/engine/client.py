"""The contract between an engine and the event loop: the API is tested against a scripted engine that keeps it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from server.engine.events import EngineEvent
from server.engine.request import Kind, Request
from server.engine.usage import EngineUsage

T = TypeVar("T")


FORM_HOLD_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
"""Upper bounds of the buckets of `FormHolds`, in seconds."""


@dataclass(frozen=True, slots=True)
class FormHolds:
    """How long the forms of answers held steps: waiting for masks, and masking rows.

    `num_steps` counts the steps with a form, by bucket, the last of which has no bound. `total_s` sums their times.
    `num_late` counts masks that came too late for a step, so that their answer sat out.
    """

    num_steps: tuple[int, ...] = (0,) * (len(FORM_HOLD_BUCKETS_S) + 1)
    total_s: float = 0.0
    num_late: int = 0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot of the engine's state, taken by the engine thread after its latest step.

    Those from `num_prompt_tokens` to `num_failed`, and `num_batch_steps`, count since the start. Computed prompt tokens
    include those that were computed again and the labels of a classification; cached ones were found in the prefix
    cache instead. The sequences of batch requests are counted apart: `num_waiting` and `num_running` leave them out.
    """

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
    num_last_sequences: int = 0
    num_last_tokens: int = 0
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_generated_tokens: int = 0
    num_finished: int = 0
    num_aborted: int = 0
    num_failed: int = 0
    num_batch_waiting: int = 0
    num_batch_running: int = 0
    num_batch_steps: int = 0
    form_holds: FormHolds = FormHolds()


class RequestRunner(Protocol):
    """Runs requests."""

    def stream(self, request: Request[Kind]) -> AsyncIterator[EngineEvent]:
        """Accept a request and return its events, in order. The last one is terminal (`events.TERMINAL`).

        Raises `RequestRefused`, `EngineOverloaded` or `EngineStopped` before it returns. Closing the iterator early
        (`aclose`, cancelling its consumer, or dropping it) aborts what is still running.
        """

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """End a whole request, or one of its choices (a stop string was found). Unknown ids are ignored.

        An aborted choice ends with `ChoiceFinished(choice, ABORTED)` unless it had ended before.
        """

    @property
    def max_context(self) -> int:
        """Maximum number of positions of a sequence: virtual tokens, prompt and output together."""


class EngineClient(RequestRunner, Protocol):
    """An engine, as the server uses it. Its observers see every request that `stream` accepts."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Compute while the context is open; requests that are unfinished when it closes fail."""

    @property
    def unobserved(self) -> RequestRunner:
        """The same engine for requests of the server's own, which no client sent: observers do not see them."""

    def check(self, requests: Sequence[Request[Kind]]) -> None:
        """Raise as `stream` would for any of these, and `PrefixTooLarge` if their soft prompts could never be resident
        together."""

    def check_servable(self, request: Request[Kind]) -> None:
        """Raise `RequestRefused` for a request that an idle engine could not serve either."""

    def cut_off(self) -> None:
        """End every open request at once, with `RequestFailed` by `EngineStopped`."""

    @property
    def stats(self) -> EngineStats:
        """The latest snapshot."""

    @property
    def usage(self) -> EngineUsage:
        """The holders of batch, queue and KV blocks. It may be 250 ms and a step older than `stats`."""

    @property
    def is_alive(self) -> bool:
        """Whether the engine thread runs and has not wedged."""

    @property
    def is_wedged(self) -> bool:
        """Whether one step or message has taken the engine thread far too long."""


class PieceRunner(Protocol):
    """Runs background work on the engine's device, one bounded piece at a time."""

    async def between_steps(self, piece: Callable[[], T]) -> T:
        """Run one piece on the engine's thread when its turn comes, and return its result.

        Raises the piece's exception, and `EngineStopped`. Cancelling the caller does not stop a piece that has begun.
        """


class TuningEngine(EngineClient, PieceRunner, Protocol):
    """An engine that also runs background work on the weights that it serves."""
