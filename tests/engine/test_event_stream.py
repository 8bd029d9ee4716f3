"""One request's events: what its reader and its observers see, and that it is left in any case."""

from __future__ import annotations

import pytest

from server.engine.event_stream import EventStream
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
