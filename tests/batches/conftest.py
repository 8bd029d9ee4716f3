"""A server with a scripted engine that runs batches, and a store with one batch."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from prompts_store.batch_records import NewBatch
from prompts_store.batch_store import BatchStore
from prompts_store.tuning_store import TuningStore
from server.api.inference.batch_lines import BatchLines
from server.batches.input_file import InputLimits
from server.batches.runner import BatchOptions, BatchRunner
from tests.api.conftest import client_of, empty_database, engine, store
from tests.fakes.checkpoints import BASE
from tests.fakes.services import fake_services

__all__ = ["empty_database", "engine", "store"]

F = BASE.fingerprint
LIMITS = InputLimits(max_lines=100, max_line_bytes=10_000)
FAST = BatchOptions(LIMITS, max_lines_in_flight=4, poll_interval_s=0.02, heartbeat_s=0.05, takeover_s=0.3)
PATH = "/v1/completions"


def with_batches(services, options=FAST):
    """The services, with a runner of batches."""
    runner = BatchRunner(
        services.store_access.store, F, BatchLines.beside(services.inference, services.access.keys), options
    )
    return replace(services, batches=runner)


@pytest.fixture
def services(store, engine):
    return with_batches(fake_services(store, engine))


@pytest.fixture
async def client(services):
    async with client_of(services) as http:
        yield http


def line(custom_id, body=None, /, **fields):
    """One line of an input file."""
    body = {"model": "sentiment", "prompt": custom_id} if body is None else body
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": PATH, "body": body} | fields)


def input_file(*lines):
    """The bytes of a file of these lines."""
    return "\n".join(lines).encode()


@pytest.fixture
def batches(store):
    return BatchStore(store)


@pytest.fixture
def create(store, batches):
    """Puts a batch into the store."""

    def create(num_lines=6, owner="anonymous", expires_at=None, data=None):
        data = input_file(*(line(f"l{number}") for number in range(1, num_lines + 1))) if data is None else data
        file = TuningStore(store).add_file("in.jsonl", "batch", [data], actor=owner)
        expires_at = datetime.now(UTC) + timedelta(hours=1) if expires_at is None else expires_at
        return batches.create(NewBatch(F, owner, PATH, file.id, "24h", expires_at, {}), max_unfinished=99)

    return create


async def until(condition, timeout_s=20):
    """Wait for a condition; its value."""
    async with asyncio.timeout(timeout_s):
        while not (value := condition()):
            await asyncio.sleep(0.01)
    return value


def lines_of(store, file_id):
    """The lines of a file as objects."""
    return [] if file_id is None else [json.loads(one) for one in TuningStore(store).load_file(file_id).splitlines()]
