"""A catalog over a temporary store, followed by hand: a test says when changes are taken over."""

import shutil

import pytest

from prompts_store.store import Store
from server.soft_prompts.catalog import TaskCatalog
from server.store_follower import StoreFollower
from tests.fakes.checkpoints import BASE
from tests.soft_prompts.counted_store import CountedStore


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A migrated database, made once."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def store(empty_database, tmp_path):
    path = shutil.copy(empty_database, tmp_path / "prompts.db")
    with Store.open(f"sqlite:///{path}") as store:
        yield store


@pytest.fixture
def counted(store):
    return CountedStore(store)


@pytest.fixture
def follower(counted):
    return StoreFollower(counted)


@pytest.fixture
async def catalog(counted, follower):
    catalog = TaskCatalog(counted, BASE, follower)
    follower.subscribe(catalog)
    await follower.refresh()
    yield catalog
    catalog.close()
