"""A mailbox gives its one reader every item, in order, whatever becomes of a wait."""

from __future__ import annotations

import asyncio

import pytest

from server.engine.mailbox import Mailbox


async def test_items_come_in_order_before_and_after_the_reader_waits():
    """Those that were put before it waits too."""
    box: Mailbox[int] = Mailbox()
    box.put(1)
    box.put(2)
    assert (len(box), await box.get(), box.take(), len(box)) == (2, 1, 2, 0)
    waiting = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.put(3)
    box.put(4)
    assert (await waiting, await box.get()) == (3, 4)


async def test_a_cancelled_reader_loses_no_item():
    """Not even if an item came in the same turn of the event loop."""
    box: Mailbox[int] = Mailbox()
    waiting = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.put(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await box.get() == 1
