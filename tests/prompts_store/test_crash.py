"""Writers and servers that are killed, and writers that race: the short form of `make crash-test`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from prompts_store import maintenance
from prompts_store.store import Store
from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres
from tests.prompts_store.crash_worker import Worker
from tests.prompts_store.crashes import kill_clients, kill_server
from tests.prompts_store.races import TASK, F, race_for_an_alias, race_to_publish


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def test_a_writer_to_sqlite_killed_at_any_moment_loses_nothing(worker: Worker, tmp_path: Path) -> None:
    numbers = count()
    tally = kill_clients(worker, 15, lambda: str(tmp_path / f"store-{next(numbers)}.db"), tmp_path, seed=7)
    assert tally.num_points == 15
    assert tally.num_acknowledged > 0


def test_a_writer_to_postgres_killed_at_any_moment_loses_nothing(
    worker: Worker, empty_postgres: str, tmp_path: Path
) -> None:
    maintenance.upgrade(empty_postgres)
    tally = kill_clients(worker, 8, lambda: empty_postgres, tmp_path, seed=7)
    assert tally.num_acknowledged > 0


def test_a_postgres_killed_at_any_moment_loses_nothing(worker: Worker, tmp_path: Path) -> None:
    try:
        with postgres.private_cluster(fsync=True) as cluster:
            tally = kill_server(worker, 1, cluster, tmp_path, seed=7)
    except postgres.NoPostgres as reason:
        without_postgres(reason)
    assert tally.num_acknowledged > 0


def test_of_fifty_writers_racing_for_one_alias_exactly_one_wins(url: str) -> None:
    assert race_for_an_alias(url, num_writers=50, num_rounds=5) == [1] * 5
    with Store.open(url) as store:
        assert len(store.alias_history(F, TASK, "production")) == 6
        assert maintenance.verify(store).is_clean


def test_fifty_publishers_of_one_task_get_numbers_without_gap_or_twin(url: str) -> None:
    assert race_to_publish(url, num_writers=50, num_rounds=2) == list(range(1, 101))
    with Store.open(url) as store:
        assert maintenance.verify(store).is_clean
