"""Three server processes on one PostgreSQL; `make replica-test` is the long form."""

from __future__ import annotations

import httpx
import pytest

from tests.prompts_store import postgres
from tests.prompts_store.conftest import without_postgres
from tests.system import replicas
from tests.system.live_server import checkpoint, publish
from tests.system.replicas import Replicas


@pytest.fixture
def fleet():
    try:
        with replicas.replicas() as running:
            yield running
    except postgres.NoPostgres as reason:
        without_postgres(reason)


@pytest.mark.slow
def test_three_servers_answer_as_one(fleet: Replicas) -> None:
    """Moves reach all within a second, publishes at once; with the database away known tasks answer.

    One test, since the servers are costly to start and test workers share none.
    """
    replicas.watch_moves(fleet, 30, pause_s=0.2)
    with httpx.Client(base_url=fleet.urls[0], timeout=60) as client:
        publish(client, "fresh", checkpoint(100), manifest=replicas.MANIFEST)
    for url in fleet.urls[1:]:
        assert httpx.post(f"{url}/v1/completions", json=replicas.REQUEST | {"model": "fresh"}).status_code == 200
    replicas.watch_outage(fleet, 3.0)
    replicas.watch_moves(fleet, 4, pause_s=0.2)
