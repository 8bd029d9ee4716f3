"""The change feed: ids in the order of commits, and waiting for the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from prompts_store.manifest import Manifest
from prompts_store.records import ChangeKind
from prompts_store.sql import changes
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint

F = BASE.fingerprint
SOON_S = 30.0  # far above what it takes, far below a timeout
TIMEOUT_S = 120.0


@pytest.fixture
def other(url: str) -> Iterator[Store]:
    """The same database through connections of its own, as another server has it."""
    with Store.open(url) as opened:
        yield opened


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_slow_commit_is_not_overtaken(store: Store, other: Store) -> None:
    """A change that is written first and committed last would be missed by who has read past its id. It cannot be."""
    written, seen = threading.Event(), []

    def write_slowly() -> None:
        with store.database.write() as connection:
            changes.record(connection, ChangeKind.TASK_CREATED, F, "slow", actor="")
            written.set()
            time.sleep(0.5)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(write_slowly)
        written.wait()
        quick = pool.submit(other.create_task, F, "quick")
        while not quick.done():
            seen += other.changes_since(seen[-1].id if seen else 0, 100)
        slow.result()
        quick.result()
    seen += other.changes_since(seen[-1].id if seen else 0, 100)
    assert [change.task for change in seen] == ["slow", "quick"]


def test_a_follower_of_many_slow_writers_misses_nothing(store: Store, other: Store) -> None:
    def write(writer: int) -> None:
        for turn in range(5):
            with (store if writer % 2 else other).database.write() as connection:
                changes.record(connection, ChangeKind.TASK_CREATED, F, f"t{writer}-{turn}", actor="")
                time.sleep(0.003 * (writer % 3))

    followed: list[str] = []
    revision = 0
    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, writer) for writer in range(6)]
        while not all(writer.done() for writer in writers) or other.revision() > revision:
            for change in other.changes_since(revision, 3):
                assert change.id > revision
                revision = change.id
                followed.append(change.task)
        for writer in writers:
            writer.result()
    assert sorted(followed) == sorted(f"t{writer}-{turn}" for writer in range(6) for turn in range(5))


def test_a_change_that_is_rolled_back_is_never_seen(store: Store, other: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.database.write() as connection:
        changes.record(connection, ChangeKind.TASK_CREATED, F, "t", actor="")
        _ = 1 / 0
    assert other.revision() == 0
    other.create_task(F, "u")
    assert [change.task for change in store.changes_since(0, 10)] == ["u"]


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_what_is_committed_already_is_not_waited_for(store: Store) -> None:
    assert store.wait_for_changes(-1, TIMEOUT_S) == 0
    store.create_task(F, "t")
    assert store.wait_for_changes(0, TIMEOUT_S) == 1


def test_without_a_change_the_wait_ends_in_time(store: Store) -> None:
    began = time.monotonic()
    assert store.wait_for_changes(0, 0.2) == 0
    assert 0.2 <= time.monotonic() - began < SOON_S
    assert store.wait_for_changes(0, 0.0) == 0


@pytest.mark.parametrize("writer_is", ["the same store", "another"])
def test_a_commit_ends_the_wait(store: Store, other: Store, writer_is: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL by its notification alone: nothing is polled here."""
    monkeypatch.setattr("prompts_store.sql.databases.postgres.POLL_INTERVAL_S", TIMEOUT_S)
    revision = 0
    writer = store if writer_is == "the same store" else other
    with ThreadPoolExecutor(1) as pool:
        for turn in range(3):
            waiting = pool.submit(store.wait_for_changes, revision, TIMEOUT_S)
            time.sleep(0.1)
            assert not waiting.done()
            began = time.monotonic()
            writer.publish(f"t{turn}", checkpoint(), Manifest())
            revision = waiting.result()
            assert time.monotonic() - began < SOON_S
            assert revision == 3 * (turn + 1), "the three changes of a publish come together"


def test_a_commit_without_a_notification_is_found_by_polling(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prompts_store.sql.changes.CHANNEL", "elsewhere")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait_for_changes, 0, TIMEOUT_S)
        time.sleep(0.1)
        began = time.monotonic()
        other.create_task(F, "t")
        assert waiting.result() == 1
        assert time.monotonic() - began < SOON_S


def test_a_wait_can_be_ended(store: Store) -> None:
    """On SQLite at once: a server that stops does not wait for it."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait_for_changes, 0, TIMEOUT_S, stop)
        time.sleep(0.1)
        assert not waiting.done()
        stop.set()
        assert waiting.result(SOON_S) == 0
    assert store.wait_for_changes(0, TIMEOUT_S, stop) == 0


def test_many_wait_at_once(store: Store, other: Store) -> None:
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(store.wait_for_changes, 0, TIMEOUT_S) for _ in range(12)]
        time.sleep(0.1)
        other.create_task(F, "t")
        assert [each.result() for each in waiting] == [1] * 12
