"""Batches beside live requests on vLLM's engine: what begins, and when."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from server.engine.vllm.batch_share import BatchShare
from tests.engine.contract import tokens_of
from tests.engine.vllm.conftest import generate


def line(name, **changes):
    """A request of a batch."""
    return replace(generate(name, **changes), is_batch=True)


async def until(holds):
    """Let the engine go on until something holds."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came")


async def test_with_a_share_of_0_a_line_waits_for_the_last_live_request(make_face):
    """Also where there is room beside it."""
    face, ended = await make_face(batch_share=0.0), []

    async def ask(request):
        await face.ask(request)
        ended.append(request.request_id)

    live = asyncio.create_task(ask(generate("live", max_tokens=60)))
    await until(lambda: face.engine.stats.num_running == 1)
    batch = asyncio.create_task(ask(line("batch", max_tokens=1)))
    await asyncio.gather(live, batch)
    assert ended == ["live", "batch"]


@pytest.mark.parametrize("share", [0.1, 0.5])
async def test_lines_have_their_share_of_the_tokens(make_face, share):
    """While live requests follow one another without a gap; more by one sequence at most, which cannot be stopped."""
    face = await make_face(batch_share=share, max_num_seqs=8)
    served = {"live": 0, "batch": 0}

    async def ask(kind, request):
        async for event in face.engine.stream(request):
            served[kind] += bool(tokens_of([event])) and is_loaded()

    def is_loaded():
        return face.engine.stats.num_running > 0

    async def live(caller):
        for number in range(6):
            await ask("live", generate(f"live {caller} {number}", max_tokens=50))

    waiting = [asyncio.create_task(live(caller)) for caller in range(4)]
    await until(lambda: face.engine.stats.num_running == 4)
    lines = [asyncio.create_task(ask("batch", line(f"batch {n}", max_tokens=10))) for n in range(200)]
    await asyncio.gather(*waiting)
    for one in lines:
        one.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    assert 0 < served["batch"] / sum(served.values()) <= share + 0.03
    assert served["batch"] >= 10


async def test_a_live_request_finds_room_beside_a_flood_of_lines(make_face):
    """An idle engine gives them all but one of its sequences. They count as load of batches alone."""
    face = await make_face(batch_share=0.5)
    lines = [asyncio.create_task(face.ask(line(f"batch {n}", max_tokens=60))) for n in range(8)]
    await until(lambda: face.engine.stats.num_batch_running == 3)
    stats = face.engine.stats
    assert (stats.num_batch_waiting, stats.num_waiting, stats.num_running) == (5, 0, 0)
    live = face.engine.stream(generate("live"))
    await until(lambda: face.engine.stats.num_running == 1)
    assert len(tokens_of([event async for event in live])) == 4
    assert not any(one.done() for one in lines)
    await asyncio.gather(*lines)


async def test_a_batch_costs_its_task_nothing_in_the_live_lane(make_face):
    """Its live requests have their turn as if the batch were not there."""
    face, order = await make_face(max_num_seqs=1), []

    async def ask(request):
        await face.ask(request)
        order.append(request.request_id)

    await ask(line("batch", task="mine", max_tokens=60))
    busy = asyncio.create_task(ask(generate("busy", task="other", max_tokens=10)))
    await until(lambda: face.engine.stats.num_running == 1)
    await asyncio.gather(busy, ask(generate("other", task="other")), ask(generate("mine", task="mine")))
    assert order == ["batch", "busy", "mine", "other"]


def test_a_debt_is_paid_off_by_live_tokens():
    """Nine of them for one of a batch at a share of 0.1; without live sequences nothing is owed."""
    share = BatchShare(0.1, max_running=64)
    assert share.permits(num_batch=0, num_live=1) and not share.permits(num_batch=1, num_live=1)
    assert share.permits(num_batch=5, num_live=58)
    share.charge(10, is_batch=True)
    share.charge(89, is_batch=False)
    assert not share.permits(num_batch=0, num_live=1)
    share.charge(2, is_batch=False)
    assert share.permits(num_batch=0, num_live=1)
    share.charge(1000, is_batch=True)
    assert share.permits(num_batch=55, num_live=0) and not share.permits(num_batch=56, num_live=0)
    assert share.permits(num_batch=0, num_live=1)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share):
    """Below 0 is no share, and with 1 no live request would end."""
    with pytest.raises(ValueError, match="share"):
        BatchShare(share, max_running=4)
