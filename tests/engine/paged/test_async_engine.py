"""The engine's thread and its client: streams, disconnects, stopping, and a thread that dies."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

from server.engine.errors import ContextExceeded, EngineOverloaded, EngineStopped, StepFailed
from server.engine.events import RequestFailed, RequestFinished, TokenEvent
from server.engine.paged.options import EngineOptions
from server.engine.request import Request, Score
from server.engine.thread.async_engine import AsyncEngine
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import EngineHarness, make_options
from tests.engine.paged.requests import generate, text, tokens_of
from tests.engine.paged.scripted_runner import make_prefix


class Face:
    """An engine behind its asynchronous face, over a scripted runner whose steps a test may hold back."""

    def __init__(self, options: EngineOptions) -> None:
        self.harness = EngineHarness(options)
        self.client = AsyncEngine(self.harness.engine, options)
        self.gate = threading.Event()
        self.gate.set()
        self.is_computing = threading.Event()
        self.harness.runner.on_forward = self._compute

    def _compute(self) -> None:
        self.is_computing.set()
        self.gate.wait(20)

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_true():
                await asyncio.sleep(0.001)

    async def until_idle(self) -> None:
        await self.until(lambda: self.client.stats.num_running + self.client.stats.num_waiting == 0)

    async def ask(self, request) -> list:
        return [event async for event in self.client.stream(request)]


@asynccontextmanager
async def running(**options):
    face = Face(make_options(**options))
    async with face.client.running():
        yield face
        face.gate.set()
    assert face.harness.runner.violations == []


LONG = {"max_tokens": 80}


async def test_a_stream_yields_the_events_and_ends_after_the_terminal_one():
    async with running() as face:
        request = generate("r")
        check_answer(request, await face.ask(request))


async def test_many_streams_at_once_each_get_their_own_answer():
    async with running(num_blocks=41, max_num_seqs=8) as face:
        requests = [
            generate(f"r{n}", text(5 + n % 9, n), task=f"t{n % 7}", prefix=make_prefix(n % 7, 6), max_tokens=1 + n % 12)
            for n in range(150)
        ]
        answers = await asyncio.gather(*map(face.ask, requests))
        for request, events in zip(requests, answers, strict=True):
            check_answer(request, events)
    assert face.client.stats.num_leases == 0
    face.harness.scheduler.blocks.check()


async def test_the_door_refuses_before_a_stream_exists():
    async with running() as face:
        with pytest.raises(ContextExceeded):
            face.client.stream(generate("r", text(90), max_tokens=7))
        assert face.client.num_open == 0


async def test_scores_come_as_one_event():
    async with running() as face:
        request = Request("s", "", (1, 2), Score(((3, 4), (5,))))
        check_answer(request, await face.ask(request))


@pytest.mark.parametrize("how", ["aclose", "cancel", "drop"])
async def test_a_client_that_leaves_frees_its_blocks_within_two_steps(how):
    async with running() as face:
        stream = face.client.stream(generate("r", prefix=make_prefix(1, 5), num_choices=2, **LONG))
        await anext(stream)
        if how == "aclose":
            await stream.aclose()
        elif how == "cancel":
            await anext(stream)
            face.gate.clear()
            while not face.client._open["r"].arrived.empty():
                await anext(stream)
            consumer = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            consumer.cancel()
            face.gate.set()
            with pytest.raises(asyncio.CancelledError):
                await consumer
        else:
            del stream
            gc.collect()
        first = face.client.stats.num_steps
        await face.until_idle()
        assert face.client.stats.num_steps <= first + 3  # two, and one that was under way
        assert face.client.stats.num_leases == 0
        face.harness.check_empty()


async def test_a_stream_that_was_never_read_aborts_its_request_too():
    async with running() as face:
        face.client.stream(generate("r", **LONG))
        gc.collect()
        await face.until(lambda: face.client.num_open == 0)
        await face.until_idle()


class Begun:
    """An observer that notes which requests begin, and a request's observer that notes nothing."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def begin(self, request):
        self.ids.append(request.request_id)
        return self

    def event(self, event):
        pass

    def end(self, *, is_aborted):
        pass


async def test_observers_see_no_request_of_the_unobserved_client():
    """Metrics and traces are of what clients send; both clients share the queue and the ids."""
    options, observer = make_options(), Begun()
    client = AsyncEngine(EngineHarness(options).engine, options, observers=[observer])
    async with client.running():
        own = client.unobserved.stream(generate("own"))
        with pytest.raises(ValueError, match="in use"):
            client.stream(generate("own"))
        assert client.unobserved.max_context == client.max_context
        check_answer(generate("own"), [event async for event in own])
        assert [event async for event in client.stream(generate("theirs"))]
        left = client.unobserved.stream(generate("left", **LONG))
        client.unobserved.abort("left")
        assert len(tokens_of([event async for event in left])) < 80
    assert observer.ids == ["theirs"]


async def test_closing_a_stream_that_has_ended_does_nothing():
    async with running() as face:
        stream = face.client.stream(generate("r", max_tokens=1))
        async for _ in stream:
            pass
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_closing_an_unread_old_stream_does_not_abort_a_new_request_of_its_id():
    async with running() as face:
        old = face.client.stream(generate("same", max_tokens=1))
        await face.until(lambda: face.client.num_open == 0)
        request = generate("same", **LONG)
        new = face.client.stream(request)
        events = [await anext(new)]
        await old.aclose()
        events += [event async for event in new]
        check_answer(request, events)


async def test_a_choice_can_be_aborted_alone():
    async with running() as face:
        face.gate.clear()
        stream = face.client.stream(generate("r", num_choices=2, **LONG))
        face.client.abort("r", 0)
        face.gate.set()
        events = [event async for event in stream]
        assert len(tokens_of(events, 1)) == 80
        assert len(tokens_of(events, 0)) < 80


async def test_an_id_in_use_is_refused_and_the_first_goes_on():
    async with running() as face:
        request = generate("r", **LONG)
        stream = face.client.stream(request)
        with pytest.raises(ValueError, match="in use"):
            face.client.stream(request)
        check_answer(request, [event async for event in stream])


async def test_more_than_the_queue_holds_is_refused_until_there_is_room():
    async with running(max_open_requests=2) as face:
        face.gate.clear()
        streams = [face.client.stream(generate(f"r{number}")) for number in range(2)]
        with pytest.raises(EngineOverloaded):
            face.client.stream(generate("r2"))
        face.gate.set()
        for stream in streams:
            async for _ in stream:
                pass
        await face.ask(generate("r3"))


async def test_a_failed_step_reaches_its_streams_and_the_engine_goes_on():
    async with running() as face:
        face.harness.runner.fail_next = {"forward"}
        events = await face.ask(generate("r"))
        assert isinstance(events[-1], RequestFailed)
        assert isinstance(events[-1].cause, StepFailed)
        request = generate("s")
        check_answer(request, await face.ask(request))
        assert face.client.is_alive


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_stopping_cuts_off_what_is_unfinished():
    async with running() as face:
        face.gate.clear()
        score = Request("s", "", (1,), Score(((2, 3),)))
        streams = [face.client.stream(generate("r", **LONG)), face.client.stream(score)]
        stopping = asyncio.create_task(face.client.stop())
        for stream in streams:
            (only,) = [event async for event in stream]
            assert isinstance(only, RequestFailed)
            assert isinstance(only.cause, EngineStopped)
        face.gate.set()
        await stopping
        assert not face.client.is_alive
        with pytest.raises(EngineStopped):
            face.client.stream(generate("s"))


async def test_cut_off_requests_fail_at_once_and_free_their_blocks():
    """Even while a step hangs; the thread lives on."""
    async with running() as face:
        face.gate.clear()
        stream = face.client.stream(generate("r", prefix=make_prefix(1, 5), **LONG))
        face.client.cut_off()
        (only,) = [event async for event in stream]
        assert isinstance(only, RequestFailed)
        assert face.client.is_alive
        face.gate.set()
        await face.until_idle()
        assert face.client.stats.num_leases == 0


async def test_stopping_with_grace_lets_accepted_requests_finish():
    async with running() as face:
        request = generate("r", **LONG)
        stream = face.client.stream(request)
        stopping = asyncio.ensure_future(face.client.stop(grace_s=20))
        check_answer(request, [event async for event in stream])
        await stopping


async def test_grace_is_not_for_new_requests():
    async with running() as face:
        face.gate.clear()
        stream = face.client.stream(generate("r"))
        stopping = asyncio.ensure_future(face.client.stop(grace_s=20))
        await asyncio.sleep(0)
        with pytest.raises(EngineStopped):
            face.client.stream(generate("s"))
        face.gate.set()
        await stopping
        assert isinstance([event async for event in stream][-1], RequestFinished)


async def test_before_it_runs_nothing_is_accepted():
    client = Face(make_options()).client
    assert not client.is_alive
    with pytest.raises(EngineStopped):
        client.stream(generate("r"))


# --- a thread that dies or hangs --------------------------------------------------------------------------------------


class Disaster(BaseException):
    """What no step loop may swallow."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_thread_fails_all_who_wait_and_accepts_nobody():
    async with running() as face:
        face.gate.clear()
        streams = [face.client.stream(generate(f"r{number}")) for number in range(5)]

        def die() -> None:
            raise Disaster

        face.harness.runner.on_forward = die
        face.gate.set()
        for stream in streams:
            last = [event async for event in stream][-1]
            assert isinstance(last, RequestFailed)
            assert isinstance(last.cause, EngineStopped)
        await face.until(lambda: not face.client.is_alive)
        with pytest.raises(EngineStopped):
            face.client.stream(generate("s"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_whose_device_is_dead_is_not_alive():
    async with running() as face:
        face.harness.runner.is_dead = True
        assert isinstance((await face.ask(generate("r")))[-1].cause, StepFailed)
        await face.until(lambda: not face.client.is_alive)


class Clock:
    """A clock that a test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_step_that_takes_too_long_counts_as_wedged_until_it_ends():
    """A thread that has ended well is not wedged, however long ago that was."""
    options, clock = make_options(), Clock()
    face = Face(options)
    face.client = AsyncEngine(face.harness.engine, options, wedged_after_s=60.0, clock=clock)
    async with face.client.running():
        face.gate.clear()
        stream = face.client.stream(generate("r", max_tokens=1))
        await asyncio.to_thread(face.is_computing.wait, 20)
        clock.now = 60.0
        assert face.client.is_alive
        clock.now = 60.1
        assert face.client.is_wedged
        assert not face.client.is_alive
        face.gate.set()
        assert [event async for event in stream]
        await face.until(lambda: face.client.is_alive)
    clock.now = 1000.0
    assert not face.client.is_wedged


async def test_waiting_for_work_is_not_wedged():
    """However long no request comes."""
    options, clock = make_options(), Clock()
    client = AsyncEngine(EngineHarness(options).engine, options, wedged_after_s=60.0, clock=clock)
    async with client.running():
        clock.now = 1000.0
        assert client.is_alive


async def test_statistics_follow_the_engine():
    async with running() as face:
        assert face.client.stats.num_free_blocks == face.client.stats.num_blocks == 128
        events = await face.ask(generate("r", prefix=make_prefix(1, 5), max_tokens=4))
        assert sum(isinstance(event, TokenEvent) for event in events) == 4
        await face.until_idle()
        stats = face.client.stats
        assert (stats.num_steps, stats.num_prefix_loads, stats.num_resident_prefixes) == (4, 1, 1)
        assert face.client.max_context == 96
