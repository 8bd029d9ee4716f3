"""The keys in memory: what they open, how they follow the store, and what they do without it."""

from datetime import UTC, datetime, timedelta

import pytest

from prompts_store.errors import StoreUnavailable
from prompts_store.keys import KeyGrant
from prompts_store.store import Store
from server.api.access.key_ring import KeyRing
from server.api.errors import Unauthorized
from server.store_follower import StoreFollower

INFER = frozenset({"infer"})


class UnreliableStore:
    """A store that can be away, and counts how often its keys are read."""

    def __init__(self, store):
        self._store = store
        self.is_away = False
        self.num_reads = 0

    def __getattr__(self, name):
        if self.is_away:
            raise StoreUnavailable("away")
        return getattr(self._store, name)

    def key_table(self):
        if self.is_away:
            raise StoreUnavailable("away")
        self.num_reads += 1
        return self._store.key_table()


@pytest.fixture
def unreliable(store):
    return UnreliableStore(store)


@pytest.fixture
async def followed(unreliable):
    """A ring, and the follower that has begun to hand changes to it."""
    ring, follower = KeyRing(unreliable, "admin"), StoreFollower(unreliable)
    follower.subscribe(ring)
    await follower.refresh()
    yield ring, follower
    ring.close()


def opens(ring: KeyRing, secret: str) -> bool:
    try:
        ring.identify(secret)
    except Unauthorized:
        return False
    return True


def test_a_store_is_what_the_ring_reads_at_once(store: Store):
    """A server never answers before it knows its keys."""
    store.create_key(KeyGrant("ci", INFER))
    assert not KeyRing(store).is_open


async def test_keys_made_and_revoked_elsewhere_are_followed(followed, store):
    """Each with the round after it."""
    ring, follower = followed
    created = store.create_key(KeyGrant("ci", INFER))
    assert not opens(ring, created.secret)
    await follower.refresh()
    assert opens(ring, created.secret)
    store.revoke_key("ci")
    await follower.refresh()
    assert not opens(ring, created.secret)


async def test_a_key_revoked_before_the_ring_is_followed_is_refused(store):
    """Between the ring's first reading and the follower's first round, a model is loaded."""
    created = store.create_key(KeyGrant("ci", INFER))
    ring, follower = KeyRing(store), StoreFollower(store)
    store.revoke_key("ci")
    follower.subscribe(ring)
    await follower.refresh()
    assert not opens(ring, created.secret)


async def test_expiry_needs_nobody(store):
    """It counts by this server's clock, at once, whether or not the store can be reached."""
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    created = store.create_key(KeyGrant("brief", INFER, expires_at=expires_at))
    times = iter([expires_at - timedelta(seconds=1), expires_at])
    ring = KeyRing(store, now=lambda: next(times))
    assert opens(ring, created.secret)
    assert not opens(ring, created.secret)


async def test_known_keys_go_on_while_the_store_is_away(followed, unreliable, store):
    """And what was missed is taken over when it is back."""
    ring, follower = followed
    created = store.create_key(KeyGrant("ci", INFER))
    await follower.refresh()
    store.revoke_key("ci")
    unreliable.is_away = True
    with pytest.raises(StoreUnavailable):
        await follower.refresh()
    assert opens(ring, created.secret)
    unreliable.is_away = False
    await follower.refresh()
    assert not opens(ring, created.secret)


async def test_a_reading_that_fails_is_done_again(followed, unreliable, store):
    """The changes are noted by then, and no other one comes."""
    ring, _ = followed
    created = store.create_key(KeyGrant("ci", INFER))
    ring.note(store.changes_since(0, 10))
    unreliable.is_away = True
    with pytest.raises(StoreUnavailable):
        await ring.catch_up()
    unreliable.is_away = False
    await ring.catch_up()
    assert opens(ring, created.secret)


async def test_changes_of_tasks_do_not_read_the_keys_again(followed, unreliable, store):
    """A busy store costs the ring no more than the changes themselves."""
    _, follower = followed
    num_reads = unreliable.num_reads
    store.create_task("f" * 64, "mood")
    await follower.refresh()
    assert unreliable.num_reads == num_reads
    store.create_key(KeyGrant("ci", INFER))
    await follower.refresh()
    assert unreliable.num_reads == num_reads + 1
