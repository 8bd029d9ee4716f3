"""Threads and processes on one database: no number twice, no move lost, nothing half visible."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from prompts_store.errors import PreconditionFailed, StoreUnavailable
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.records import ChangeKind
from prompts_store.store import Store
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.conftest import DATABASES

T = TypeVar("T")
F = BASE.fingerprint
ROOT = Path(__file__).parents[2]
NUM_THREADS = 8


def together(call: Callable[[int], T]) -> list[T]:
    """Call in every thread at once, with the thread's number."""
    barrier = threading.Barrier(NUM_THREADS)

    def run(number: int) -> T:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(run, range(NUM_THREADS)))


def publish(store: Store, seed: int, *, promote: bool = False) -> int:
    return store.publish("t", checkpoint(seed=seed), Manifest(), promote=promote).version.version


def test_threads_get_numbers_without_gap_or_twin(store: Store) -> None:
    rounds = together(lambda thread: [publish(store, 100 * thread + turn) for turn in range(5)])
    assert sorted(number for numbers in rounds for number in numbers) == list(range(1, 41))


def test_threads_publishing_the_same_content_get_the_same_version(store: Store) -> None:
    assert together(lambda _: publish(store, 0)) == [1] * NUM_THREADS


def test_of_threads_racing_for_an_alias_exactly_one_wins(store: Store) -> None:
    publish(store, 0)
    for _ in range(10):
        etag = store.get_alias(F, "t", "production").etag

        def swap(_: int, etag: str = etag) -> bool:
            try:
                store.put_alias(F, "t", "production", 1, if_match=etag, must_not_exist=False)
            except PreconditionFailed:
                return False
            return True

        assert sum(together(swap)) == 1


@pytest.mark.parametrize("database", DATABASES)
def test_a_new_database_opened_by_many_at_once_is_made_once(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "new.db") if database == "sqlite" else request.getfixturevalue("empty_postgres")

    def open_and_use(thread: int) -> int:
        with Store.open(url, migrate=True) as store:
            return publish(store, thread)

    assert sorted(together(open_and_use)) == list(range(1, NUM_THREADS + 1))


def test_two_processes_share_a_database_from_its_first_moment(url: str) -> None:
    command = [sys.executable, "-m", "tests.prompts_store.publisher", url]
    processes = [
        subprocess.Popen([*command, str(1000 * number), "15"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    numbers = sorted(int(line) for output in outputs for line in output.split())
    assert numbers == list(range(1, 31))

    with Store.open(url) as store:
        published = [
            change.version for change in store.changes_since(0, 1000) if change.kind is ChangeKind.VERSION_PUBLISHED
        ]
        moves = store.alias_history(F, "t", "production")
    assert published == numbers, "numbers and changes are in the same order"
    assert [move.to_version for move in moves] == numbers[::-1]
    assert [move.from_version for move in moves] == [*numbers[-2::-1], None]


def test_a_reader_never_sees_half_a_publish(store: Store) -> None:
    """While versions are promoted and retired, a bare task name always resolves to a version that can be read."""
    publish(store, 0)
    finished = threading.Event()

    def write() -> None:
        for seed in range(1, 30):
            number = publish(store, seed, promote=True)
            store.retire_version(F, "t", number - 1)
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    revisions = []
    while not finished.is_set():
        revisions.append(store.revision())
        version = store.resolve(F, TaskReference.parse("t"))
        content = store.load_content(F, "t", version.version, include_retired=True)
        assert content.record.digest == version.digest
    writer.join()
    assert revisions == sorted(revisions)


def test_writers_do_not_queue_for_ever_behind_one_that_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prompts_store.sql.databases.database.WRITE_TURN_TIMEOUT_S", 0.05)
    with ThreadPoolExecutor(1) as pool, store.database.write(), pytest.raises(StoreUnavailable):
        pool.submit(publish, store, 0).result()
    assert publish(store, 0) == 1
