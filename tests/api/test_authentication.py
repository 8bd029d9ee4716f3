import pytest
from fastapi import APIRouter, FastAPI

from server.api import application
from server.api.access.authentication import Scope, declared_scopes
from server.api.access.key_ring import KeyRing
from server.api.application import build_routes
from tests.api.conftest import client_of, error_of
from tests.fakes.services import with_parts

KEY = "sk-a-long-random-key"
PUBLIC = {
    "GET /health", "GET /ready", "GET /openapi.json",
    "GET /", "GET /web/{path:path}", "GET /docs", "GET /docs/{path:path}",
}  # fmt: skip
_FILES = {"/docs/{path:path}": "/docs/docs.js", "/web/{path:path}": "/web/main.js"}


@pytest.fixture
async def guarded(services):
    async with client_of(with_parts(services, keys=KeyRing(services.store_access.store, KEY))) as http:
        yield http


def test_every_route_declares_a_scope():
    """Default-deny: what declares none does not exist. Only these routes answer everyone: they hold no secret."""
    scopes = declared_scopes(build_routes().routes)
    assert len(scopes) > 25
    assert None not in scopes.values()
    assert {route for route, scope in scopes.items() if scope is Scope.PUBLIC} == PUBLIC


def test_an_application_with_an_undeclared_route_is_not_built(monkeypatch):
    """Forgetting is an error at start, not an open door."""

    class Careless:
        router = APIRouter()

    Careless.router.add_api_route("/open", lambda: None)
    monkeypatch.setattr(application, "_ROUTES", (*application._ROUTES, Careless))
    with pytest.raises(RuntimeError, match="GET /open"):
        build_routes()


def test_a_route_that_is_none_of_ours_counts_as_undeclared():
    """FastAPI's own pages, for one."""
    app = FastAPI()
    assert set(declared_scopes(app.routes).values()) == {None}


@pytest.mark.parametrize("route", sorted(set(declared_scopes(build_routes().routes)) - PUBLIC))
async def test_without_the_key_nothing_is_answered(guarded, engine, route):
    """Every route but the public ones; what the body holds is not even looked at."""
    method, path = route.split()
    for name, value in {"model_id:path": "x", "task": "x", "version": "1", "alias": "a", "key_name": "k"}.items():
        path = path.replace(f"{{{name}}}", value)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}):
        response = await guarded.request(method, path, headers=headers, json={"nothing": "of use"})
        assert (response.status_code, error_of(response)["type"]) == (401, "authentication_error")
        assert response.headers["www-authenticate"] == "Bearer"
    assert not engine.requests


async def test_with_the_key_everything_is(guarded):
    """And the public routes without it."""
    body = {"model": "tiny-base", "prompt": "a"}
    headers = {"authorization": f"Bearer {KEY}"}
    assert (await guarded.post("/v1/completions", json=body, headers=headers)).status_code == 200
    for route in PUBLIC:
        path = route.split()[1]
        assert (await guarded.get(_FILES.get(path, path))).status_code == 200


async def test_no_part_of_an_upload_is_read_before_the_key_is_checked(guarded):
    """A stranger cannot fill the disk."""
    was_read = False

    async def body():
        nonlocal was_read
        was_read = True
        yield b"--x\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = await guarded.post("/v1/tasks/x/versions", content=body(), headers=headers)
    assert response.status_code == 401
    assert not was_read


@pytest.mark.parametrize("key", ["ключ", "x" * 10_000, "\x7f", ""])
async def test_a_strange_key_is_a_wrong_key(guarded, key):
    """And nothing worse."""
    headers = [(b"authorization", b"Bearer " + key.encode())]
    assert (await guarded.get("/v1/models", headers=headers)).status_code == 401
