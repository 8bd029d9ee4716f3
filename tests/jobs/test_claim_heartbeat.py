"""The heart of a job: every event reaches the store, and a beat in flight before whatever ends the job."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest

from prompts_store.errors import StoreUnavailable
from prompts_store.strict_json import canonical
from prompts_store.tuning_records import JobClaim, NewEvent
from server.jobs.training import ClaimHeartbeat

CLAIM = JobClaim(7, 1)
STEP, GATE = NewEvent("Step 1."), NewEvent("The gate opened.")


class SlowStore:
    """Writes a beat once it is let."""

    def __init__(self) -> None:
        self.reached, self.let = threading.Event(), threading.Event()
        self.log: list[NewEvent] = []

    def beat(self, claim, events, progress) -> None:
        self.reached.set()
        assert self.let.wait(30)
        self.log += events


async def test_what_ends_a_job_waits_for_the_beat_in_flight():
    """Otherwise the job has ended when the beat comes, and what it carries is refused."""
    store = SlowStore()
    heartbeat = ClaimHeartbeat(store, CLAIM, interval_s=0.001)

    async def end() -> None:
        async with heartbeat.queued_events() as events:
            store.log += [*events, NewEvent("The end.")]

    heartbeat.queue([STEP])
    async with heartbeat.beating():
        await asyncio.to_thread(store.reached.wait, 30)
        heartbeat.queue([GATE])
        ending = asyncio.create_task(end())
        await asyncio.sleep(0.01)
        assert not ending.done()
        store.let.set()
        await ending
    assert [event.message for event in store.log] == ["Step 1.", "The gate opened.", "The end."]


@pytest.mark.parametrize("error", [StoreUnavailable("The disk is full."), asyncio.CancelledError()])
async def test_a_write_that_failed_leaves_its_events_to_the_next(error):
    """They come first in the next write, before the events queued since."""
    heartbeat = ClaimHeartbeat(SlowStore(), CLAIM, interval_s=1.0)
    heartbeat.queue([STEP])
    with pytest.raises(type(error)):
        async with heartbeat.queued_events() as events:
            assert events == (STEP,)
            heartbeat.queue([GATE])
            raise error
    async with heartbeat.queued_events() as events:
        assert events == (STEP, GATE)


async def test_a_heart_beats_on_after_events_that_no_store_takes(caplog):
    """They alone are lost, and the log of the server says so."""

    class StrictStore(SlowStore):
        def beat(self, claim, events, progress) -> None:
            canonical([dict(event.data) for event in events])
            super().beat(claim, events, progress)

    store = StrictStore()
    store.let.set()
    heartbeat = ClaimHeartbeat(store, CLAIM, interval_s=0.001)
    heartbeat.queue([NewEvent("Step 1.", data={"distance": math.inf})])
    async with heartbeat.beating():
        await asyncio.to_thread(store.reached.wait, 30)
        heartbeat.queue([GATE])
        async with asyncio.timeout(30):
            while not store.log:
                await asyncio.sleep(0.001)
    assert store.log == [GATE]
    assert "1 events of tuning job 7 cannot be written" in caplog.text
