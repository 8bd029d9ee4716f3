"""Background work on the engine's thread: its share of the time, and that nothing it does reaches a request."""

from __future__ import annotations

import asyncio
import threading

import pytest

from server.engine.errors import EngineStopped
from server.engine.thread.background import BackgroundBudget, BackgroundShare
from tests.engine.paged.alone import check_answer
from tests.engine.paged.harness import make_options
from tests.engine.paged.requests import generate, text
from tests.engine.paged.test_async_engine import Face, running


def served(budget: BackgroundBudget, step_s: float, piece_s: float, num_steps: int, *, is_queueing: bool) -> float:
    """The share of the time that steps get, when there is always a piece that could run."""
    in_pieces = 0.0
    for _ in range(num_steps):
        budget.earn(step_s, is_queueing=is_queueing)
        if budget.is_free:
            budget.spend(piece_s)
            in_pieces += piece_s
    return step_s * num_steps / (step_s * num_steps + in_pieces)


@pytest.mark.parametrize("piece_s", [0.001, 0.05, 0.5])
def test_serving_keeps_what_the_shares_leave_it_however_long_a_piece_is(piece_s):
    for is_queueing, share in ((True, 0.05), (False, 0.15)):
        kept = served(BackgroundBudget(BackgroundShare(0.15, 0.05)), 0.01, piece_s, 20_000, is_queueing=is_queueing)
        assert 1 - share - 0.01 <= kept < 1, "never less for serving, and never nothing for the piece"


def test_time_does_not_save_up_and_idle_forgives():
    budget = BackgroundBudget(BackgroundShare())
    for _ in range(1000):
        budget.earn(1.0, is_queueing=False)
    budget.spend(0.5)
    assert not budget.is_free
    budget.forgive()
    assert budget.is_free


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.1, 0.2), (1.0, 0.5), (0.5, 0.0)])
def test_shares_that_starve_somebody_are_refused(shares):
    with pytest.raises(ValueError, match="shares"):
        BackgroundShare(*shares)


async def test_a_piece_runs_on_the_engine_thread_and_answers():
    async with running() as face:
        assert await face.client.between_steps(lambda: threading.current_thread().name) == "engine"
        assert await asyncio.gather(*(face.client.between_steps(lambda n=n: n) for n in range(20))) == [*range(20)]


async def test_pieces_run_beside_requests_without_changing_answers():
    async with running(num_blocks=41, max_num_seqs=4) as face:
        requests = [generate(f"r{n}", text(5, n), task=f"t{n % 3}", max_tokens=12) for n in range(60)]
        answers = asyncio.gather(*map(face.ask, requests))
        num_pieces = 0
        while not answers.done():
            await face.client.between_steps(lambda: None)
            num_pieces += 1
        for request, events in zip(requests, await answers, strict=True):
            check_answer(request, events)
    assert num_pieces > 1


async def test_a_piece_that_fails_fails_its_sender_alone():
    def fail() -> None:
        raise ZeroDivisionError("mine")

    async with running() as face:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await face.client.between_steps(fail)
        request = generate("r")
        check_answer(request, await face.ask(request))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_piece_that_leaves_the_device_dead_ends_the_engine():
    """Else piece after piece would fail on a server that nobody asks for anything."""
    async with running() as face:

        def kill_the_device() -> None:
            face.harness.runner.is_dead = True
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await face.client.between_steps(kill_the_device)
        await face.until(lambda: not face.client.is_alive)
        with pytest.raises(EngineStopped):
            await face.client.between_steps(lambda: None)


async def test_a_sender_that_leaves_takes_its_waiting_piece_along():
    began, gate, ran = threading.Event(), threading.Event(), []

    def hold() -> None:
        began.set()
        gate.wait(20)

    async with running() as face:
        first = asyncio.create_task(face.client.between_steps(hold))
        await asyncio.to_thread(began.wait, 20)
        second = asyncio.create_task(face.client.between_steps(lambda: ran.append(1)))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.set()
        await first
        await face.client.between_steps(lambda: None)
    assert ran == []


async def test_stopping_fails_the_pieces_that_wait():
    began, gate = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        gate.wait(20)

    async with running() as face:
        held = asyncio.create_task(face.client.between_steps(hold))
        await asyncio.to_thread(began.wait, 20)
        waiting = asyncio.create_task(face.client.between_steps(lambda: None))
        stopping = asyncio.create_task(face.client.stop())
        await asyncio.sleep(0)  # it has begun to stop, and waits for the thread
        gate.set()
        await held
        with pytest.raises(EngineStopped):
            await waiting
        await stopping
        with pytest.raises(EngineStopped):
            await face.client.between_steps(lambda: None)


def test_an_engine_that_never_started_takes_no_piece():
    face = Face(make_options())
    with pytest.raises(EngineStopped):
        asyncio.run(face.client.between_steps(lambda: None))
