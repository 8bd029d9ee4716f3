"""A store of its own for each test, copied rather than made."""

from __future__ import annotations

import shutil

import pytest

from prompts_store.store import Store
from tests.jobs.bench import Bench


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "empty.db"
    Store.open(str(path)).close()
    return path


@pytest.fixture
def store(empty_database, tmp_path):
    with Store.open(str(shutil.copy(empty_database, tmp_path / "prompts.db"))) as store:
        yield store


@pytest.fixture
def bench(store):
    return Bench(store)
