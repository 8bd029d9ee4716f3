"""The client of vLLM's engine, on the event loop: it accepts requests, and their events come as from our own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from server.engine.client import EngineStats, RequestRunner
from server.engine.errors import EngineOverloaded, EngineStopped
from server.engine.event_stream import EventStream
from server.engine.events import EngineEvent, EngineObserver, RequestFailed
from server.engine.request import Generate, Kind, Request, Score
from server.engine.unobserved import UnobservedRunner
from server.engine.usage import EngineUsage, PrefixUsage
from server.engine.vllm.admission import Admission, Lane
from server.engine.vllm.backend import Backend
from server.engine.vllm.forms import Forms
from server.engine.vllm.generating import GenerateRequest
from server.engine.vllm.open_request import OpenRequest
from server.engine.vllm.options import VllmOptions
from server.engine.vllm.scoring import ScoreRequest
from server.engine.vllm.sequences import Sequences
from server.engine.vllm.soft_prompts import SoftPrompts
from server.model.prefix import Prefix


class VllmEngine:
    """Implements `EngineClient` and `Capturer` over a backend. All methods belong to one event loop.

    It counts as wedged where sequences run and none has had a token for `wedged_after_s` seconds. `observers` see every
    request that `stream` accepts. `capture_key` and `folder` are those of the connector.
    """

    def __init__(
        self,
        backend: Backend,
        options: VllmOptions,
        capture_key: str,
        folder: Path,
        wedged_after_s: float = 300.0,
        observers: Sequence[EngineObserver] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._options = options
        self._wedged_after_s = wedged_after_s
        self._observers = tuple(observers)
        self._clock = clock
        facts = options.facts
        self._admission = Admission(
            options.max_num_seqs, options.max_prefix_bytes, facts.prefix_bytes, options.batch_share
        )
        self._soft_prompts = SoftPrompts(
            backend, capture_key, folder, options.max_prefix_bytes, self._admission.leases, clock
        )
        self._sequences = Sequences(backend, self._admission, self._soft_prompts)
        self._forms = Forms(folder)
        self._open: dict[str, OpenRequest] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._streams: WeakValueDictionary[str, EventStream] = WeakValueDictionary()
        self._arrivals = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_accepting = False
        self._num_finished = self._num_aborted = self._num_failed = 0
        self._progress = (0, clock())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See `EngineClient`."""
        self._loop = asyncio.get_running_loop()
        self._is_accepting = True
        try:
            yield
        finally:
            self._is_accepting = False
            self.cut_off()
            while self._ending:
                await asyncio.gather(*self._ending, return_exceptions=True)
            await asyncio.to_thread(self._backend.close)

    def cut_off(self) -> None:
        """See `EngineClient`."""
        for request in list(self._open.values()):
            request.fail(EngineStopped("the engine has stopped"))

    def stream(self, request: Request[Kind]) -> AsyncIterator[EngineEvent]:
        """See `RequestRunner`. Raises ValueError where the request's id is in use."""
        return self.stream_to(request, self._observers)

    @property
    def unobserved(self) -> RequestRunner:
        """See `EngineClient`."""
        return UnobservedRunner(self)

    def stream_to(self, request: Request[Kind], observers: Sequence[EngineObserver]) -> EventStream:
        """See `unobserved.Observable`."""
        self.check((request,))
        if request.request_id in self._open:
            raise ValueError(f"request id {request.request_id!r} is in use")
        watching = [observer.begin(request) for observer in observers]
        opened = self._begin(request)
        self._open[request.request_id] = opened
        opened.start()
        stream = EventStream(opened.events.get, lambda: self._leave(opened), watching)
        self._streams[request.request_id] = stream
        return stream

    def _begin(self, request: Request[Kind]) -> OpenRequest:
        given = (request, self._sequences, next(self._arrivals), self._clock(), self._end)
        if isinstance(request.kind, Generate):
            return GenerateRequest(request.kind, self._options.eos_token_ids, self._forms, *given)
        assert isinstance(request.kind, Score)
        return ScoreRequest(request.kind, *given)

    def check(self, requests: Sequence[Request[Kind]]) -> None:
        """See `EngineClient`."""
        if not self._is_accepting or not self._backend.is_alive:
            raise EngineStopped("the engine is not running")
        for request in requests:
            self.check_servable(request)
        self._options.check_together([request.prefix for request in requests])
        if len(self._open) + len(requests) > self._options.max_open_requests:
            raise EngineOverloaded("the queue is full")

    def check_servable(self, request: Request[Kind]) -> None:
        """See `EngineClient`."""
        self._options.check(request)

    def abort(self, request_id: str, choice: int | None = None) -> None:
        """See `RequestRunner`."""
        if choice is None and (stream := self._streams.get(request_id)) is not None:
            stream.is_aborted = True
        if (opened := self._open.get(request_id)) is not None:
            opened.abort(choice)

    def has_room(self, prefix: Prefix) -> bool:
        """See `Capturer`."""
        return self._soft_prompts.has_room(prefix)

    async def capture(self, prefix: Prefix, task: str) -> None:
        """See `Capturer`. Raises `RequestRefused` for what could never be served, and `EngineError`."""
        self._options.check_prefix(prefix)
        if prefix.digest not in self._soft_prompts.known:
            age = (next(self._arrivals),)
            async with self._admission.turn(Lane.CAPTURE, task, age, self._clock(), prefix):
                await self._soft_prompts.ready(prefix, task)

    def _leave(self, opened: OpenRequest) -> None:
        """A stream was dropped, maybe by the garbage collection of another thread."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nothing runs any more
            self._loop.call_soon_threadsafe(opened.abort, None)

    def _end(self, opened: OpenRequest, event: EngineEvent) -> None:
        del self._open[opened.request.request_id]
        if isinstance(event, RequestFailed):
            self._num_failed += 1
        elif opened.is_aborted:
            self._num_aborted += 1
        else:
            self._num_finished += 1
        ending = asyncio.ensure_future(opened.ended())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    @property
    def max_context(self) -> int:
        """See `RequestRunner`."""
        return self._options.facts.max_context

    @property
    def is_alive(self) -> bool:
        """See `EngineClient`."""
        return self._backend.is_alive and not self.is_wedged

    @property
    def is_wedged(self) -> bool:
        """See `EngineClient`. Each call compares what was served with the last call's."""
        served = self._sequences.num_generated_tokens + self._soft_prompts.num_loads + self._num_ended
        if served != self._progress[0] or self._admission.is_idle:
            self._progress = (served, self._clock())
        return self._clock() - self._progress[1] > self._wedged_after_s

    @property
    def _num_ended(self) -> int:
        return self._num_finished + self._num_aborted + self._num_failed

    @property
    def stats(self) -> EngineStats:
        """See `EngineClient`."""
        vllm, sequences, facts = self._backend.stats, self._sequences, self._options.facts
        admission = self._admission
        return EngineStats(
            num_waiting=admission.num_waiting(Lane.LIVE),
            num_running=admission.num_running(Lane.LIVE),
            num_blocks=facts.num_blocks,
            num_free_blocks=facts.num_blocks - self._num_used_blocks,
            num_resident_prefixes=len(self._soft_prompts.known),
            num_leases=admission.leases.total(),
            num_steps=vllm.num_steps,
            num_preemptions=vllm.num_preemptions,
            num_prefix_loads=self._soft_prompts.num_loads,
            num_prefix_evictions=self._soft_prompts.num_evictions,
            num_step_tokens=vllm.num_step_tokens,
            num_last_sequences=vllm.num_last_sequences,
            num_last_tokens=vllm.num_last_tokens,
            num_prompt_tokens=sequences.num_prompt_tokens,
            num_cached_tokens=sequences.num_cached_tokens,
            num_generated_tokens=sequences.num_generated_tokens,
            num_finished=self._num_finished,
            num_aborted=self._num_aborted,
            num_failed=self._num_failed,
            num_batch_waiting=admission.num_waiting(Lane.BATCH),
            num_batch_running=admission.num_running(Lane.BATCH),
        )

    @property
    def _num_used_blocks(self) -> int:
        return min(self._options.facts.num_blocks, round(self._backend.stats.kv_usage * self._options.facts.num_blocks))

    @property
    def usage(self) -> EngineUsage:
        """See `EngineClient`. Soft prompts are kept beside the KV cache, and vLLM does not say whose a block is."""
        num_blocks, num_used, leases = self._options.facts.num_blocks, self._num_used_blocks, self._admission.leases
        prefixes = (
            PrefixUsage(
                digest, one.task, one.num_virtual_tokens, 0, leases[digest], None if leases[digest] else one.used_at
            )
            for digest, one in self._soft_prompts.known.items()
        )
        return EngineUsage(
            tasks=self._admission.usage(),
            prefixes=tuple(prefixes),
            num_blocks=num_blocks,
            num_cached_blocks=0,
            num_empty_blocks=num_blocks - num_used,
            num_other_blocks=num_used,
        )
