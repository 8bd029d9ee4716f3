"""One follower reads the store's changes, for subscribers that must not wait for each other."""

import asyncio
import logging
import threading
import time

import pytest

from prompts_store.errors import StoreUnavailable
from prompts_store.keys import KeyGrant
from prompts_store.store import Store
from server.api.access.key_ring import KeyRing
from server.api.errors import Unauthorized
from server.store_follower import StoreFollower

F = "f" * 64


class Subscriber:
    """Notes the names of tasks, and reads what a test says when it catches up."""

    def __init__(self, read=lambda: None):
        self.read = read
        self.stale = []
        self.known = []
        self.has_caught_up = asyncio.Event()

    def note(self, changes):
        self.stale += [change.task for change in changes]

    async def catch_up(self):
        await asyncio.to_thread(self.read)
        self.known += self.stale
        self.stale.clear()
        self.has_caught_up.set()


class StoreStub:
    """A store whose reads are counted, that can be away, and whose wait ends when a test says so, too."""

    def __init__(self, store):
        self._store = store
        self.failure = None
        self.num_reads = 0
        self.waits = []
        self.is_over = threading.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    def revision(self):
        self._check()
        return self._store.revision()

    def changes_since(self, revision, limit):
        self._check()
        self.num_reads += 1
        return self._store.changes_since(revision, limit)

    def wait_for_changes(self, revision, timeout_s, stop):
        self._check()
        self.waits.append(timeout_s)
        while not (self.is_over.is_set() or stop.is_set()) and self._store.wait_for_changes(revision, 0.05) == revision:
            pass

    def _check(self):
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "prompts.db")


@pytest.fixture
def store(path):
    with Store.open(path) as store:
        yield store


@pytest.fixture
def stub(store):
    stub = StoreStub(store)
    yield stub
    stub.is_over.set()


def subscribed(follower, *reads):
    subscribers = [Subscriber(read) for read in reads]
    for each in subscribers:
        follower.subscribe(each)
    return subscribers


def nothing():
    """Read nothing."""


async def test_each_change_is_read_once_for_all_subscribers(stub, store):
    """However many there are; one that subscribes twice gets it once."""
    follower = StoreFollower(stub)
    one, other = subscribed(follower, nothing, nothing)
    follower.subscribe(one)
    await follower.refresh()
    num_reads = stub.num_reads
    store.create_task(F, "mood")
    await follower.refresh()
    assert one.known == other.known == ["mood"]
    assert stub.num_reads == num_reads + 2  # the batch, and the empty one behind it


async def test_a_revoked_key_is_refused_long_before_the_poll_interval(stub, path):
    """A commit through another connection wakes the follower."""
    with Store.open(path) as elsewhere:
        created = elsewhere.create_key(KeyGrant("ci", frozenset({"infer"})))
        follower, ring = StoreFollower(stub, poll_interval_s=60), KeyRing(stub)
        follower.subscribe(ring)
        async with follower.following():
            ring.identify(created.secret)
            began = time.monotonic()
            elsewhere.revoke_key("ci")
            with pytest.raises(Unauthorized):
                while ring.identify(created.secret):
                    await asyncio.sleep(0.005)
            assert time.monotonic() - began < 30
            assert set(stub.waits) == {60}
            stub.is_over.set()


async def test_a_subscriber_that_fails_starves_no_other_and_loses_nothing(stub, store):
    """It gets its changes once it can read again, though they are not handed out twice."""
    away = StoreUnavailable("away")

    def fail():
        raise away

    follower = StoreFollower(stub)
    broken, other = subscribed(follower, fail, nothing)
    store.create_task(F, "before")
    await follower.follow_once()
    store.create_task(F, "mood")
    with pytest.raises(StoreUnavailable):
        await follower.refresh()
    assert (broken.known, other.known) == ([], ["mood"])
    await follower.follow_once()
    assert not follower.store_is_reachable
    broken.read = nothing
    await follower.follow_once()
    assert follower.store_is_reachable
    assert broken.known == ["mood"]


async def test_a_subscriber_that_is_slow_holds_up_no_other(stub, store):
    """Its state ages meanwhile; the next rounds wait for it no longer than the poll interval."""
    now, goes_on = [0.0], threading.Event()
    follower = StoreFollower(stub, poll_interval_s=0.001, clock=lambda: now[0])
    slow, other = subscribed(follower, nothing, nothing)
    await follower.refresh()
    slow.read = lambda: goes_on.wait(30)
    now[0] = 10.0
    for task in ("one", "two"):
        store.create_task(F, task)
        await follower.follow_once()
        await other.has_caught_up.wait()
        other.has_caught_up.clear()
    assert (slow.known, other.known) == ([], ["one", "two"])
    assert follower.state_age_s == 10.0
    goes_on.set()
    await follower.refresh()
    assert slow.known == ["one", "two"]
    assert follower.state_age_s == 0.0


async def test_a_write_is_known_though_a_catch_up_runs_already(stub, store):
    """Who refreshes waits until what was noted meanwhile is read as well."""
    follower, names = StoreFollower(stub), set()
    has_begun, goes_on = threading.Event(), threading.Event()

    class Names(Subscriber):
        async def catch_up(self):
            while self.stale:
                wanted = self.stale.pop()
                await asyncio.to_thread(self.read)
                names.add(wanted)

    def read():
        has_begun.set()
        assert goes_on.wait(30)

    follower.subscribe(Names(read))
    await follower.refresh()
    store.create_task(F, "one")
    first = asyncio.create_task(follower.refresh())
    assert await asyncio.to_thread(has_begun.wait, 30)
    store.create_task(F, "two")
    second = asyncio.create_task(follower.refresh())
    goes_on.set()
    await second
    assert names == {"one", "two"}
    await first


async def test_an_outage_is_logged_once(stub, caplog):
    """And its end once; whatever the store raises, the next round comes."""
    caplog.set_level(logging.INFO, "server")
    follower, ring = StoreFollower(stub), KeyRing(stub)
    follower.subscribe(ring)
    subscribed(follower, nothing)
    await follower.follow_once()
    for stub.failure in (StoreUnavailable("away"), KeyError("what nobody foresaw"), StoreUnavailable("away")):
        await follower.follow_once()
        assert not follower.store_is_reachable
    stub.failure = None
    for _ in range(2):
        await follower.follow_once()
    assert follower.store_is_reachable
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "the store cannot be followed; known tasks and keys stay as they are"),
        ("INFO", "the store is followed again"),
    ]


async def test_the_age_of_the_last_state_grows_while_the_store_is_away(stub):
    """It is none before the first one, and small again once the store is back."""
    now = [100.0]
    follower = StoreFollower(stub, clock=lambda: now[0])
    stub.failure = StoreUnavailable("away")
    await follower.follow_once()
    assert follower.state_age_s is None
    stub.failure = None
    await follower.follow_once()
    now[0] += 7
    stub.failure = StoreUnavailable("away")
    await follower.follow_once()
    assert follower.state_age_s == 7.0
    stub.failure = None
    await follower.follow_once()
    assert follower.state_age_s == 0.0


@pytest.mark.parametrize("failing", ["wait_for_changes", "changes_since"])
async def test_a_follower_that_cannot_wait_or_read_pauses_and_goes_on(stub, store, failing):
    """Each time for the poll interval, and never more than once in a round."""
    pauses = []

    async def sleep(delay_s):
        pauses.append(delay_s)
        if len(pauses) == 3:
            setattr(stub, failing, getattr(store, failing))
            store.create_task(F, "mood")
        await asyncio.sleep(0)

    def fail(*_):
        raise RuntimeError("what nobody foresaw")

    follower = StoreFollower(stub, poll_interval_s=0.02, sleep=sleep)
    (subscriber,) = subscribed(follower, nothing)
    setattr(stub, failing, fail)
    async with follower.following():
        assert follower.is_following
        async with asyncio.timeout(30):
            while "mood" not in subscriber.known:
                subscriber.has_caught_up.clear()
                await subscriber.has_caught_up.wait()
        assert follower.is_following
    assert not follower.is_following
    assert pauses[:3] == [0.02] * 3


async def test_a_read_that_has_begun_ends_before_following_does(stub, store):
    """So the store is not closed under it."""
    has_begun, goes_on, ended = threading.Event(), threading.Event(), []
    real = stub.key_table

    def key_table():
        has_begun.set()
        assert goes_on.wait(30)
        ended.append(True)
        return real()

    ring, follower = KeyRing(stub), StoreFollower(stub, poll_interval_s=0.001)
    stub.key_table = key_table
    follower.subscribe(ring)

    async def follow():
        async with follower.following():
            pass

    following = asyncio.create_task(follow())
    assert await asyncio.to_thread(has_begun.wait, 30)
    stub.is_over.set()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not following.done()
    goes_on.set()
    await following
    assert ended == [True]
    ring.close()
