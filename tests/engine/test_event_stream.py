"""One request's events: what its reader and its observers see, and that it is left in any case."""

from __future__ import annotations

import pytest

from server.engine.event_stream import DeliveredStream, Delivery, EventStream
from server.engine.events import RequestFinished, TokenEvent


class Watch:
    """Notes what it sees; `failure` is raised at the end."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.seen: list[object] = []
        self.failure = failure

    def event(self, event):
        self.seen.append(event)

    def end(self, *, is_aborted):
        self.seen.append("aborted" if is_aborted else "finished")
        if self.failure is not None:
            raise self.failure


def stream_of(events, watch):
    left = []

    async def next_event():
        return events.pop(0)

    return EventStream(next_event, lambda: left.append(True), [watch]), left


async def test_a_request_that_is_read_to_its_end_is_finished_once():
    events = [TokenEvent(0, 5), RequestFinished()]
    watch = Watch()
    stream, left = stream_of([*events], watch)
    assert [event async for event in stream] == events
    await stream.aclose()
    assert watch.seen == [*events, "finished"]
    assert left == []


async def test_a_request_that_is_left_is_aborted_though_an_observer_fails():
    """The engine must not go on computing for nobody."""
    watch = Watch(RuntimeError("no room for the metric"))
    stream, left = stream_of([TokenEvent(0, 5), RequestFinished()], watch)
    await anext(stream)
    with pytest.raises(RuntimeError, match="no room"):
        await stream.aclose()
    assert left == [True]
    assert watch.seen[-1] == "aborted"


async def test_events_reach_the_sink_and_the_observers_though_one_fails():
    """Events that came before are handed on first. The reader must not wait for ever because a metric failed."""
    watch, got = Watch(RuntimeError("no room for the metric")), []
    delivery = Delivery([watch])
    stream = DeliveredStream(delivery, lambda: got.append("left"))
    delivery.put(TokenEvent(0, 5))
    stream.hand_to(got.append)
    delivery.put(TokenEvent(0, 6))
    with pytest.raises(RuntimeError, match="no room"):
        delivery.put(RequestFinished())
    delivery.put(TokenEvent(0, 7))
    await stream.aclose()
    assert got == [TokenEvent(0, 5), TokenEvent(0, 6), RequestFinished()]
    assert watch.seen == [*got, "finished"]


async def test_a_delivered_stream_that_is_left_passes_nothing_on():
    """The engine may still deliver what it computed meanwhile."""
    watch, left = Watch(), []
    delivery = Delivery([watch])
    stream = DeliveredStream(delivery, lambda: left.append(True))
    delivery.put(TokenEvent(0, 5))
    assert await anext(stream) == TokenEvent(0, 5)
    del stream
    delivery.put(TokenEvent(0, 6))
    assert left == [True]
    assert watch.seen == [TokenEvent(0, 5), "aborted"]
