"""Versions are captured when they become live, and not when they no longer are."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from prompts_store.errors import StoreUnavailable
from server.soft_prompts.live_captures import LiveCaptures
from tests.fakes.checkpoints import BASE
from tests.soft_prompts.counted_store import move, publish


class Capturer:
    """Captures what it does not have, one after the other, while `gate` is open. `room` is what the start may use."""

    def __init__(self, room=100):
        self.room = room
        self.captured = []
        self.waiting = []
        self.failure = None
        self.gate = asyncio.Event()
        self.gate.set()

    def has_room(self, prefix):
        return len(self.captured) < self.room

    async def capture(self, prefix, task):
        assert not self.waiting, "one at a time"
        if prefix.digest in self.captured:
            return
        self.waiting.append(prefix.digest)
        try:
            await self.gate.wait()
        finally:
            self.waiting.clear()
        if self.failure is not None:
            raise self.failure
        self.captured.append(prefix.digest)


@pytest.fixture
def capturer():
    return Capturer()


@pytest.fixture
def start(counted, follower, catalog, capturer):
    """Starts the captures, and returns once those of the start have ended."""

    @asynccontextmanager
    async def start():
        await follower.refresh()
        captures = LiveCaptures(counted, BASE, catalog, capturer)
        follower.subscribe(captures)
        async with captures.running():
            await settle()
            yield captures

    return start


async def seen(follower):
    """Let a change be followed, and its captures be made."""
    await follower.refresh()
    await settle()


async def settle():
    """Let threads and tasks do what is to be done."""
    for _ in range(30):
        await asyncio.sleep(0.005)


async def test_a_version_is_captured_when_an_alias_moves_onto_it(start, store, follower, capturer):
    """The first one by its publication, others as a canary and by a rollback. One that is only published is not."""
    async with start():
        first = publish(store, seed=1)
        await seen(follower)
        second = publish(store, seed=2)
        await seen(follower)
        assert capturer.captured == [first.prefix_digest]
        move(store, "production", 1, 2)
        await seen(follower)
        assert capturer.captured == [first.prefix_digest, second.prefix_digest]
        move(store, "production", 2)
        await seen(follower)
        capturer.captured.clear()
        store.rollback(BASE.fingerprint, "sentiment")
        await seen(follower)
        assert capturer.captured == [first.prefix_digest, second.prefix_digest]


async def test_live_versions_are_captured_at_start_while_there_is_room(start, store, capturer):
    """Of every alias, by name."""
    live = [publish(store, f"task-{n:03}", seed=n, promote=True).prefix_digest for n in range(4)]
    capturer.room = 3
    async with start():
        assert capturer.captured == live[:3]


async def test_an_alias_that_moves_again_is_not_captured_in_vain(start, store, follower, capturer):
    """A capture that waits behind live requests is for the latest version, also where it had begun to wait."""
    versions = [publish(store, seed=n) for n in range(3)]
    async with start():
        capturer.gate.clear()
        move(store, "production", 1, 2)
        await seen(follower)
        assert capturer.waiting == [versions[1].prefix_digest]
        for number in (2, 3):
            move(store, "production", number)
            await seen(follower)
        capturer.gate.set()
        await settle()
    assert capturer.captured == [versions[0].prefix_digest, versions[2].prefix_digest]


async def test_a_failure_is_a_line_of_the_log(start, store, follower, capturer, caplog):
    """The next captures go on."""
    version = publish(store, seed=1)
    capturer.failure = RuntimeError("the engine is out of its mind")
    async with start():
        assert "sentiment is not captured ahead" in caplog.text
        capturer.failure = None
        move(store, "canary", 1)
        await seen(follower)
        assert capturer.captured == [version.prefix_digest]


async def test_a_store_that_is_away_at_start_captures_nothing(start, store, counted, capturer, caplog):
    """The server starts all the same."""
    publish(store, promote=True)
    async with start() as captures:
        assert len(capturer.captured) == 1
    counted.failure = StoreUnavailable("away")
    async with captures.running():
        await settle()
    assert "captured on first use" in caplog.text
    assert len(capturer.captured) == 1
