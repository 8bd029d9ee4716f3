"""The real application around a scripted engine, a small tokenizer and a temporary store."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from prompts_store.store import Store
from server.api.services import Services
from server.app import create_app
from tests.api import redis_server
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.scripted_engine import ScriptedEngine
from tests.fakes.services import fake_services, with_parts
from tests.fakes.tokenizers import byte_level
from tests.fakes.tuning_run import RunControl

URL, IS_REQUIRED = redis_server.variables()  # read before tests/conftest.py hides our variables from tests
SENTIMENT = {"template": " {input} ->", "labels": [" positive", " negative"], "defaults": {"temperature": 0.0}}


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
def engine():
    """Answers " positive" and ends."""
    tokenizer = byte_level()
    answer = (*tokenizer.encode(" positive"), tokenizer.eos_token_id)
    return ScriptedEngine(script=lambda request, choice: answer, eos_token_ids=tokenizer.eos_token_ids())


@pytest.fixture
def runs():
    """What a test does to tuning runs, which are fakes."""
    return RunControl()


@pytest.fixture
def services(store, engine, runs):
    return fake_services(store, engine, runs=runs, started_at=1_700_000_000)


@pytest.fixture(scope="session")
def redis_url():
    """A Redis server to share; where one is required, its absence fails the test."""
    try:
        with redis_server.redis_server(URL) as url:
            yield url
    except redis_server.NoRedis as reason:
        if IS_REQUIRED:
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@asynccontextmanager
async def client_of(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has started."""
    app = create_app(services)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


@pytest.fixture
async def client(services):
    async with client_of(services) as http:
        yield http


@pytest.fixture
async def limited(services):
    """Makes clients of applications with other limits."""

    def make(**limits):
        settings = replace(services.settings, limits=replace(services.settings.limits, **limits))
        return client_of(with_parts(services, settings=settings))

    return make


async def publish(client, task="sentiment", *, manifest=None, promote=False, seed=0, headers=None, **files):
    """Publish a small checkpoint; the response."""
    files = prompt_tuning_files(seed=seed) | files
    return await client.post(
        f"/v1/tasks/{task}/versions",
        files={name: (name, data) for name, data in files.items()},
        data={"manifest": json.dumps(SENTIMENT if manifest is None else manifest), "promote": str(promote).lower()},
        headers=headers,
    )


def events_of(text: str) -> list:
    """The data of an event stream's events; JSON where it is."""
    assert text.endswith("\n\n")
    lines = [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def error_of(response) -> dict:
    """The error of an error body, which has this shape and no other."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert response.headers["x-request-id"]
    return body["error"]
