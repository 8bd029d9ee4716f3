"""Threads of their own: one kind of work never waits for another's, and none waits for ever."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from server import threads
from server.threads import Threads, ThreadsBusy

REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="none")


@pytest.fixture
def hold():
    """Work that lasts until the end of the test, or until it is let go."""
    let_go = threading.Event()
    yield let_go
    let_go.set()


async def until(is_true):
    async with asyncio.timeout(30):
        while not is_true():
            await asyncio.sleep(0.001)


async def test_work_of_one_kind_does_not_wait_for_another_s(hold):
    """However much of it there is."""
    slow, fast = Threads("slow", 2), Threads("fast", 1)
    waiting = [asyncio.create_task(slow.run(hold.wait)) for _ in range(20)]
    await until(lambda: slow.num_calls == 20)
    assert await fast.run(lambda: "done") == "done"
    assert not any(each.done() for each in waiting)
    hold.set()
    assert all(await asyncio.gather(*waiting))
    assert slow.num_calls == 0


async def test_no_more_run_at_once_than_there_are_threads(hold):
    """And each has the context of its caller, by which its log lines are known."""
    running, most = threading.Semaphore(2), Threads("most", 2)

    def work() -> str:
        assert running.acquire(blocking=False)
        running.release()
        return f"{threading.current_thread().name[:4]} {REQUEST_ID.get()}"

    async def call(number: int) -> str:
        REQUEST_ID.set(str(number))
        return await most.run(work)

    found = await asyncio.gather(*[call(number) for number in range(50)])
    assert found == [f"most {number}" for number in range(50)]


async def test_who_waits_too_long_is_told_so(hold):
    """A database that answers nobody does not gather callers."""
    slow = Threads("slow", 1, max_wait_s=0.01)
    first = asyncio.create_task(slow.run(hold.wait))
    await until(lambda: slow.num_calls == 1)
    with pytest.raises(ThreadsBusy):
        await slow.run(hold.wait)
    hold.set()
    assert await first
    assert await slow.run(lambda: "again") == "again"


async def test_the_queue_is_bounded(hold, monkeypatch):
    """What is over the bound is refused at once."""
    monkeypatch.setattr(threads, "MAX_WAITING", 3)
    slow = Threads("slow", 1)
    waiting = [asyncio.create_task(slow.run(hold.wait)) for _ in range(4)]
    await until(lambda: slow.num_calls == 4)
    with pytest.raises(ThreadsBusy):
        await slow.run(hold.wait)
    hold.set()
    await asyncio.gather(*waiting)


async def test_whoever_goes_away_leaves_the_queue(hold):
    """Its work is not done for nobody, and its place is free."""
    slow, done = Threads("slow", 1), []
    first = asyncio.create_task(slow.run(hold.wait))
    second = asyncio.create_task(slow.run(done.append, "second"))
    await until(lambda: slow.num_calls == 2)
    second.cancel()
    await until(lambda: slow.num_calls == 1)
    hold.set()
    assert await first
    await slow.run(done.append, "third")
    assert done == ["third"]


async def test_closed_threads_end_and_start_again(hold):
    """Closing waits for nothing; work that has begun ends."""
    slow = Threads("closed-one", 1)
    first = asyncio.create_task(slow.run(hold.wait))
    await until(lambda: any(thread.name.startswith("closed-one") for thread in threading.enumerate()))
    slow.close()
    hold.set()
    assert await first
    await until(lambda: not any(thread.name.startswith("closed-one") for thread in threading.enumerate()))
    assert await slow.run(lambda: "again") == "again"
    slow.close()
