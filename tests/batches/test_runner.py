"""The runner of batches: bounded, resumable, alone on a batch, and ended truthfully."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from prompts_store import maintenance
from prompts_store.errors import StoreUnavailable
from server.batches.asker import LineAnswer, TryLater
from server.batches.runner import BatchRunner
from tests.batches.conftest import FAST, F, lines_of, until


@dataclass
class Asker:
    """Answers lines while its gate is open, and notes which were asked."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    num_open: int = 0
    most_open: int = 0
    later: int = 0

    async def ask(self, ask):
        if self.later:
            self.later -= 1
            raise TryLater(0.01)
        self.asked.append(ask.body["prompt"])
        self.num_open += 1
        self.most_open = max(self.most_open, self.num_open)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.num_open -= 1
        return LineAnswer(500 if ask.body["prompt"] == "l3" else 200, f'{{"to": "{ask.body["prompt"]}"}}')


@pytest.fixture
def asker():
    return Asker()


@pytest.fixture
def runner(store, asker):
    """Makes runners of one store, each a server of its own."""
    return lambda asker=asker, **options: BatchRunner(store, F, asker, replace(FAST, **options))


def status(batches):
    """The status of the newest batch."""
    return batches.page(F)[0].status.value


async def test_every_line_is_asked_once_and_files_are_in_order(store, batches, create, asker, runner):
    """Never more at once than allowed."""
    create(20)
    async with runner().running():
        await until(lambda: asker.num_open == 4)
        asker.gate.set()
        await until(lambda: status(batches) == "completed")
    (batch,) = batches.page(F)
    assert (batch.num_lines, batch.num_answered, batch.num_failed) == (20, 19, 1)
    assert sorted(asker.asked) == sorted(f"l{number}" for number in range(1, 21))
    assert asker.most_open == 4
    assert [one["custom_id"] for one in lines_of(store, batch.output_file)] == [
        f"l{number}" for number in range(1, 21) if number != 3
    ]
    assert lines_of(store, batch.error_file) == [
        {
            "id": "batch_req_1_3",
            "custom_id": "l3",
            "response": {"status_code": 500, "request_id": "batch_req_1_3", "body": {"to": "l3"}},
            "error": None,
        }
    ]
    assert maintenance.verify(store).is_clean


async def test_a_stopped_runner_gives_its_batch_back(batches, create, asker, runner):
    """What it has kept is not asked again."""
    create(12)
    asker.gate.set()
    slow = Asker()

    async def until_half(ask, answer=slow.ask):
        if ask.body["prompt"] not in ("l1", "l2", "l3", "l4", "l5", "l6"):
            await asyncio.Event().wait()
        return await answer(ask)

    slow.ask, slow_asked = until_half, slow.asked
    slow.gate.set()
    async with runner(slow).running():
        await until(lambda: batches.page(F)[0].num_answered + batches.page(F)[0].num_failed == 6)
    assert batches.page(F)[0].claimed_by is None
    async with runner().running():
        await until(lambda: status(batches) == "completed")
    assert sorted(slow_asked + asker.asked) == sorted(f"l{number}" for number in range(1, 13))


async def test_the_batch_of_a_silent_server_is_taken_over(batches, create, asker, runner):
    """The other server has kept nothing of it; its late result is refused."""
    create(3)
    assert batches.claim(F, "killed") is not None
    asker.gate.set()
    async with runner().running():
        await asyncio.sleep(0.1)
        assert not asker.asked
        await until(lambda: status(batches) == "completed")
    assert len(asker.asked) == 3


async def test_two_servers_share_batches_and_no_line_is_asked_twice(batches, create, asker, runner):
    """Each works on its own ones."""
    for _ in range(6):
        create(5)
    other = Asker()
    for one in (asker, other):
        one.gate.set()
    async with runner().running(), runner(other).running():
        await until(lambda: all(batch.status == "completed" for batch in batches.page(F)))
    assert len(asker.asked) + len(other.asked) == 30


async def test_a_cancelled_batch_ends_with_what_is_answered(store, batches, create, asker, runner):
    """Lines in flight are left, and every line without an answer is in the error file."""
    create(9)
    async with runner().running() as _:
        await until(lambda: asker.num_open == 4)
        batches.cancel(F, 1)
        await until(lambda: status(batches) == "cancelled")
    (batch,) = batches.page(F)
    assert batch.output_file is None
    errors = lines_of(store, batch.error_file)
    assert [one["error"]["code"] for one in errors] == ["batch_cancelled"] * 9
    assert asker.num_open == 0


async def test_a_batch_that_expires_says_which_lines_never_ran(store, batches, create, asker, runner):
    """Its answers until then are kept, and no line is missing from both files."""
    asker.gate.set()
    create(6, expires_at=datetime.now(UTC) + timedelta(seconds=0.4))
    asker.ask, answer = (lambda ask: asyncio.Event().wait() if ask.body["prompt"] == "l6" else answer(ask)), asker.ask
    async with runner().running():
        await until(lambda: status(batches) == "expired")
    (batch,) = batches.page(F)
    assert (batch.num_lines, batch.num_answered, batch.num_failed) == (6, 4, 1)
    assert [one["custom_id"] for one in lines_of(store, batch.error_file)] == ["l3", "l6"]
    assert lines_of(store, batch.error_file)[1]["error"]["code"] == "batch_expired"


async def test_a_batch_that_expired_while_nobody_worked_is_ended(batches, create, asker, runner):
    """No line is asked after the window."""
    create(2, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    async with runner().running():
        await until(lambda: status(batches) == "expired")
    assert not asker.asked


async def test_a_line_that_must_wait_is_asked_later(batches, create, asker, runner):
    """A used-up quota or a full queue is no error of the line."""
    create(5)
    asker.later = 7
    asker.gate.set()
    async with runner().running():
        await until(lambda: status(batches) == "completed")
    assert sorted(asker.asked) == ["l1", "l2", "l3", "l4", "l5"]


async def test_an_invalid_file_fails_its_batch(batches, create, asker, runner):
    """Before any line is asked."""
    create(data=b"{\n")
    async with runner().running():
        await until(lambda: status(batches) == "failed")
    assert batches.page(F)[0].faults[0].code == "invalid_json_line"


async def test_an_outage_of_the_store_loses_no_answer(batches, create, asker, runner, monkeypatch):
    """Results wait until the store takes them."""
    monkeypatch.setattr("server.batches.held_batch._RETRY_S", 0.02)
    create(4)
    asker.gate.set()
    away, keep = [True] * 3, type(batches).keep

    def flaky(self, claim, results):
        if away:
            away.pop()
            raise StoreUnavailable("away")
        return keep(self, claim, results)

    monkeypatch.setattr(type(batches), "keep", flaky)
    async with runner().running():
        await until(lambda: status(batches) == "completed")
    assert (len(asker.asked), away) == (4, [])


async def test_a_fault_of_ours_fails_its_batch_in_the_end(batches, create, asker, runner, caplog):
    """It is logged and tried again, three times without a result; other batches go on meanwhile."""
    create(1)
    create(2)
    asker.gate.set()

    async def fail(ask, answer=asker.ask):
        if ask.request_id.startswith("batch_req_1_"):
            raise RuntimeError("a fault")
        return await answer(ask)

    asker.ask = fail
    async with runner().running():
        await until(lambda: batches.page(F)[0].status == "completed")
        await until(lambda: batches.page(F)[1].status == "failed")
    assert batches.page(F)[1].faults[0].code == "server_stopped"
    assert "the runner of batches failed in a step" in caplog.text


async def test_a_runner_stops_although_its_batch_is_lost(store, batches, create, asker, runner):
    """A write that is refused while the server stops must not keep it from stopping."""
    create(9)
    async with asyncio.timeout(10), runner(heartbeat_s=60).running():
        await until(lambda: asker.num_open == 4)
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE batches SET claim = claim + 1")
        asker.gate.set()
        await asyncio.sleep(0)


async def test_a_runner_stops_although_the_store_is_away(batches, create, asker, runner, monkeypatch):
    """What could not be kept is asked again."""
    monkeypatch.setattr("server.batches.held_batch._LEAVE_S", 0.1)
    create(9)

    def away(self, claim, results):
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(type(batches), "keep", away)
        asker.gate.set()
        async with asyncio.timeout(10), runner().running():
            await until(lambda: len(asker.asked) == 9)
    async with runner().running():
        await until(lambda: status(batches) == "completed")


async def test_a_batch_that_is_cancelled_before_its_file_is_read(store, batches, create, asker, runner):
    """It is read to name its lines, also by a second server behind one that was killed there."""
    create(2)
    batches.cancel(F, 1)
    claim, _ = batches.claim(F, "killed", to_end=True)
    batches.accept(claim, 2, ["sentiment"])
    async with runner().running():
        await until(lambda: status(batches) == "cancelled")
    assert len(lines_of(store, batches.page(F)[0].error_file)) == 2


@asynccontextmanager
async def killed(runner):
    """A runner that ends like a killed process: its claims stay, nothing is given back."""
    async with AsyncExitStack() as stack:
        runner._release = _nothing  # the only thing that a killed server would not do
        await stack.enter_async_context(runner.running())
        yield runner


async def _nothing(claim):
    pass


@pytest.mark.parametrize("num_kills", [1, 3])
async def test_kills_in_the_middle_lose_no_kept_line(store, batches, create, asker, runner, num_kills):
    """Each line has one result at the end, and what was kept before a kill is not asked after it."""
    create(30)
    asker.gate.set()
    kept: set[int] = set()
    for number in range(num_kills):
        before = len(asker.asked)
        held = Asker(asked=asker.asked)

        async def few(ask, held=held, most=before + 7):
            if len(held.asked) >= most:
                await asyncio.Event().wait()
            held.gate.set()
            return await Asker.ask(held, ask)

        held.ask = few
        async with killed(runner(held, server=f"killed-{number}")):
            await until(lambda most=before + 7: len(asker.asked) >= most)
            await asyncio.sleep(0.15)
        kept = set(batches.done(_claim_of(batches)))
        assert len(kept) >= 7 * (number + 1) - 4
    asked_before = len(asker.asked)
    async with runner(server="last").running():
        await until(lambda: status(batches) == "completed")
    again = asker.asked[asked_before:]
    assert {int(name[1:]) for name in again}.isdisjoint(kept)
    (batch,) = batches.page(F)
    done = [*lines_of(store, batch.output_file), *lines_of(store, batch.error_file)]
    assert sorted(int(one["custom_id"][1:]) for one in done) == list(range(1, 31))
    assert maintenance.verify(store).is_clean


def _claim_of(batches):
    (beat,) = batches.beats(F)
    return beat.claim
