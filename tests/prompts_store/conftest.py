"""Temporary stores, on SQLite and on PostgreSQL: a test that takes `store` or `url` runs on both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from prompts_store import maintenance
from prompts_store.sql.tables import metadata
from prompts_store.store import Store
from prompts_store.tuning_records import JobRecord, NewJob
from prompts_store.tuning_store import TuningStore
from tests.prompts_store import postgres
from tests.prompts_store.checkpoints import BASE

DATABASES = ["sqlite", "postgres"]
SERVER_URL = os.environ.get(postgres.URL_VARIABLE)  # read before tests/conftest.py hides our variables from tests
IS_REQUIRED = os.environ.get(postgres.REQUIRE_VARIABLE) == "1"
EMPTY_ALL = f"TRUNCATE {', '.join(table.name for table in metadata.sorted_tables)} RESTART IDENTITY CASCADE"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a database on a PostgreSQL server that may create others."""
    with ExitStack() as stack:
        try:
            url = SERVER_URL or stack.enter_context(postgres.private_cluster()).url()
        except postgres.NoPostgres as reason:
            without_postgres(reason)
        yield url


def without_postgres(reason: postgres.NoPostgres) -> NoReturn:
    """Skip a test, or fail it where the PostgreSQL half must run."""
    if IS_REQUIRED:
        pytest.fail(f"the PostgreSQL half of the store's tests did not run: {reason}", pytrace=False)
    pytest.skip(f"the PostgreSQL half of the store's tests is skipped: {reason}")


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with the schema; whoever uses it empties it first."""
    with postgres.temporary_database(postgres_server) as url:
        maintenance.upgrade(url)
        yield url


@pytest.fixture
def empty_postgres(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without any table."""
    with postgres.temporary_database(postgres_server) as url:
        yield url


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of either database."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    url: str = request.getfixturevalue("migrated_postgres")
    postgres.execute(url, EMPTY_ALL)
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, on either database."""
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def tuning(store: Store) -> TuningStore:
    """Files and jobs of the store."""
    return TuningStore(store)


@pytest.fixture
def create_job(tuning: TuningStore) -> Callable[..., JobRecord]:
    """Create a job of a task, over one file that all of them share."""
    file_id = tuning.add_file("train.jsonl", "fine-tune", [b"{}"]).id

    def create(task: str = "mood") -> JobRecord:
        return tuning.create_job(
            NewJob(BASE.fingerprint, task, file_id, None, 7, {"labels": ["a"]}), max_unfinished=100
        )

    return create
