"""Background tasks end with their context, and hide neither a failure nor a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from server.background_task import background_task, uninterrupted


async def test_the_task_has_ended_when_the_context_closes():
    """What it needs can be closed right after it."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async with background_task(work(), "work") as task:
        await asyncio.sleep(0)
        assert not task.done()
    assert ended == [True]


async def test_an_error_of_the_context_passes():
    """It is the context's, whatever the task does."""
    with pytest.raises(ValueError, match="mine"):
        async with background_task(asyncio.sleep(60), "work"):
            raise ValueError("mine")


async def test_a_cancellation_at_the_close_is_raised_once_the_task_has_ended():
    """The one who closes it learns of the cancellation, and the task is over by then."""
    closing, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            closing.set()
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                ended.append(True)
            raise

    async def user() -> None:
        async with background_task(work(), "work"):
            await asyncio.sleep(0)

    using = asyncio.create_task(user())
    await closing.wait()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert ended == [True]


async def test_a_failure_is_logged_when_it_happens(caplog):
    """Nobody waits for the task, so the log must say it."""

    async def work() -> None:
        raise ValueError("broken")

    async with background_task(work(), "work"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert "the background task work has failed" in caplog.text
        assert "broken" in caplog.text


async def test_a_cancellation_waits_for_what_may_not_be_interrupted():
    """A thread goes on anyway, and what it uses must stay open; an error of it is dropped with the cancellation."""
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await go_on.wait()
        ended.append(True)
        raise ValueError("broken")

    waiting = asyncio.create_task(uninterrupted(work()))
    await begun.wait()
    waiting.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [True]
    with pytest.raises(ValueError, match="broken"):
        await uninterrupted(work())
