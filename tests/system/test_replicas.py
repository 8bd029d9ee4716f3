"""Three server processes on one PostgreSQL; `make replica-test` is the long form."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres
from tests.system import replicas
from tests.system.live_server import checkpoint, publish
from tests.system.replicas import Replicas

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet():
    try:
        with replicas.replicas() as running:
            yield running
    except postgres.NoPostgres as reason:
        without_postgres(reason)


def test_a_move_reaches_every_replica_within_a_second(fleet: Replicas) -> None:
    """Under load, every answer is the old or the new version's, and no request fails."""
    replicas.watch_moves(fleet, 30, pause_s=0.2)


def test_what_one_replica_publishes_all_answer_at_once(fleet: Replicas) -> None:
    """Unknown names are looked up in the store."""
    with httpx.Client(base_url=fleet.urls[0], timeout=60) as client:
        publish(client, "fresh", checkpoint(100), manifest=replicas.MANIFEST)
    for url in fleet.urls[1:]:
        assert httpx.post(f"{url}/v1/completions", json=replicas.REQUEST | {"model": "fresh"}).status_code == 200


def test_known_tasks_answer_while_the_database_is_away(fleet: Replicas) -> None:
    """The state's age shows in `/ready`; afterwards moves are followed again, without a restart."""
    replicas.watch_outage(fleet, 3.0)
    began = time.monotonic()
    replicas.watch_moves(fleet, 4, pause_s=0.2)
    assert time.monotonic() - began < 30
