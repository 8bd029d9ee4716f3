"""What can happen to a server: it stops, restarts, falls silent, or a client holds it up."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from prompts_store import maintenance
from prompts_store.errors import StoreUnavailable
from prompts_store.manifest import Manifest
from prompts_store.names import TaskReference
from prompts_store.store import Store
from tests.prompts_store import postgres
from tests.prompts_store.checkpoints import BASE, checkpoint
from tests.prompts_store.conftest import without_postgres

F = BASE.fingerprint
SOON_S = 30.0  # far above what it takes, far below the time that a wait is given


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    """A server that a test may stop, unlike a named one: this needs PostgreSQL's binaries."""
    try:
        with postgres.private_cluster() as cluster:
            maintenance.upgrade(cluster.url())
            yield cluster
    except postgres.NoPostgres as reason:
        without_postgres(reason)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_TIMEOUT_S", "STATEMENT_TIMEOUT_S", "ANSWER_TIMEOUT_S", "IDLE_TIMEOUT_S"):
        monkeypatch.setattr(f"prompts_store.sql.databases.postgres.{name}", 1)


def test_a_store_outlives_a_restart_of_its_server(cluster: postgres.Cluster) -> None:
    """No call hangs, each fails as StoreUnavailable with its cause, and the next ones work again."""
    with Store.open(cluster.url()) as store:
        store.publish("t", checkpoint(), Manifest())
        revision = store.revision()
        assert store.wait_for_changes(revision, 0.01) == revision
        for stop in (cluster.stop, cluster.kill):
            stop()
            for call in (store.revision, lambda: store.create_task(F, "u"), lambda: store.wait_for_changes(9, 120.0)):
                began = time.monotonic()
                with pytest.raises(StoreUnavailable) as failed:
                    call()
                assert failed.value.__cause__ is not None
                assert time.monotonic() - began < SOON_S
            with pytest.raises(StoreUnavailable):
                Store.open(cluster.url())
            cluster.start()
            assert store.resolve(F, TaskReference.parse("t")).version == 1
            assert store.wait_for_changes(0, 9.0) == revision
            assert store.put_alias(F, "t", "canary", 1, if_match=None, must_not_exist=False).version == 1
            revision = store.revision()


def test_a_server_that_stops_while_a_transaction_is_open_fails_it_whole(cluster: postgres.Cluster) -> None:
    with Store.open(cluster.url()) as store:
        with pytest.raises(StoreUnavailable), store.database.write() as connection:
            connection.exec_driver_sql("INSERT INTO tensors (sha256, data) VALUES ('x', 'x')")
            cluster.kill()
        cluster.start()
        assert maintenance.verify(store).num_orphan_tensors == 0


@pytest.mark.usefixtures("impatient")
def test_a_server_that_falls_silent_is_given_up(cluster: postgres.Cluster) -> None:
    """Connections stay open, nothing answers: neither a call, nor a new connection, nor a wait hangs."""
    with Store.open(cluster.url()) as store:
        revision = store.revision()
        cluster.signal(signal.SIGSTOP)
        try:
            for call in (store.revision, lambda: Store.open(cluster.url()), lambda: store.wait_for_changes(9, 120.0)):
                began = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    call()
                assert time.monotonic() - began < SOON_S
        finally:
            cluster.signal(signal.SIGCONT)
        assert store.revision() == revision


@pytest.mark.usefixtures("impatient")
def test_a_client_that_falls_silent_does_not_keep_the_others_from_writing(cluster: postgres.Cluster) -> None:
    """The server ends its transaction, and its commit fails as if nothing had been written."""
    with Store.open(cluster.url()) as store, Store.open(cluster.url()) as other:
        locked, finish = threading.Event(), threading.Event()
        failures: list[BaseException] = []

        def hold() -> None:
            try:
                with store.database.write() as connection:
                    connection.exec_driver_sql("INSERT INTO tensors (sha256, data) VALUES ('x', 'x')")
                    locked.set()
                    finish.wait()
            except StoreUnavailable as error:
                failures.append(error)

        holder = threading.Thread(target=hold)
        holder.start()
        locked.wait()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                other.put_alias(F, "t", "other", 1, if_match=None, must_not_exist=False)
                break
            except StoreUnavailable:
                pass  # the wait for the lock took longer than a statement may
        finish.set()
        holder.join()
        assert other.get_alias(F, "t", "other").version == 1
        assert len(failures) == 1
        assert maintenance.verify(other).num_orphan_tensors == 0


def test_without_a_driver_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "prompts_store.sql.databases.postgres", raising=False)
    with pytest.raises(StoreUnavailable, match=r"softprompt-server\[postgres\]"):
        Store.open("postgresql://localhost/softprompt")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_the_url_is_understood(scheme: str) -> None:
    """The password is in no message."""
    with pytest.raises(StoreUnavailable) as failed:
        Store.open(f"{scheme}://user:secret@127.0.0.1:1/softprompt")
    assert failed.value.__cause__ is not None
    assert "secret" not in str(failed.value)
