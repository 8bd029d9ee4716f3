"""A server without keys is for its own machine: no page from elsewhere uses it by way of a browser there."""

import pytest

from server.api.access.key_ring import KeyRing
from server.api.limits import ApiSettings
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.services import with_parts

HERE = {"host": "localhost:8000"}


@pytest.fixture
async def local(services):
    """An open server, as `softprompt serve` starts it on loopback."""
    async with client_of(with_parts(services, settings=ApiSettings(is_local=True))) as http:
        http.headers.update(HERE)
        yield http


@pytest.mark.parametrize("origin", ["https://evil.test", "http://localhost.evil.test", "null", "http://[", ""])
async def test_a_form_of_another_page_changes_nothing(local, services, origin):
    """A form is sent by a browser without asking first."""
    response = await publish(local, headers={"origin": origin})
    assert (response.status_code, error_of(response)["code"]) == (403, "origin_not_allowed")
    assert services.store_access.store.list_tasks(services.store_access.fingerprint) == ()


@pytest.mark.parametrize("host", ["evil.test", "evil.test:8000", "localhost.evil.test", "192.0.2.1:8000", "[", ":8000"])
async def test_a_name_that_was_pointed_here_reads_nothing(local, host):
    """To the browser it is the page's own server, whose answers the page may read."""
    response = await local.get("/v1/tasks", headers={"host": host})
    assert (response.status_code, error_of(response)["code"]) == (403, "host_not_allowed")
    assert (await local.get("/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000"])
@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "http://127.0.0.1:8000"])
async def test_this_machine_is_answered(local, host, origin):
    """Its pages too, such as one that somebody is working on."""
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert (await local.get("/v1/tasks", headers=headers)).status_code == 200


@pytest.mark.parametrize("allowed", ["*", "https://app.test"])
async def test_an_origin_that_the_operator_names_is_answered(services, allowed):
    """As the browser was told."""
    settings = ApiSettings(is_local=True, cors_origins=(allowed,))
    async with client_of(with_parts(services, settings=settings)) as http:
        response = await http.get("/v1/tasks", headers=HERE | {"origin": "https://app.test"})
    assert response.status_code == 200


SDK_HEADERS = "authorization,content-type,x-softprompt-sticky-key,x-stainless-os,x-stainless-timeout"


def preflight(origin):
    return HERE | {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": SDK_HEADERS,
    }


async def test_a_named_origins_page_may_send_what_its_library_sends(services):
    """The browser asks first, for every header that is not a form's; nobody else's page may send any."""
    settings = ApiSettings(is_local=True, cors_origins=("https://app.test",))
    async with client_of(with_parts(services, settings=settings)) as http:
        allowed = await http.options("/v1/completions", headers=preflight("https://app.test"))
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://app.test")
        assert allowed.headers["access-control-allow-headers"] == SDK_HEADERS
        refused = await http.options("/v1/completions", headers=preflight("https://evil.test"))
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


async def test_a_page_reads_its_answers_details(services):
    """Which version answered, and when to come again."""
    settings = ApiSettings(is_local=True, cors_origins=("https://app.test",))
    async with client_of(with_parts(services, settings=settings)) as http:
        response = await http.get("/v1/tasks", headers=HERE | {"origin": "https://app.test"})
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert {"etag", "retry-after", "x-request-id", "x-softprompt-version"} <= exposed


async def test_who_has_a_key_may_come_from_anywhere(services):
    """No browser adds a key to a page's request by itself."""
    keys = KeyRing(services.store_access.store, "secret")
    services = with_parts(services, keys=keys, settings=ApiSettings(is_local=True))
    async with client_of(services) as http:
        headers = {"host": "prompts.test", "origin": "https://app.test", "authorization": "Bearer secret"}
        assert (await http.get("/v1/tasks", headers=headers)).status_code == 200
