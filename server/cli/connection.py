"""HTTP to a server. Only here do httpx's errors and the server's error bodies become errors of commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from server.cli.errors import ServerRefused, ServerUnreachable, UsageProblem

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 120.0
PAGE = 100
PATIENCE_S = 60.0
"""Maximum seconds without an answer while work on a server is watched: it survives a restart of its server."""
RETRY_S = 0.5
_AWAY = (429, 503)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Connection:
    """A client of one server that raises the errors of commands."""

    client: httpx.Client

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request and return its successful response. Raises ServerRefused or ServerUnreachable."""
        with self._errors():
            response = self.client.request(method, path, **request)
        _check(response)
        return response

    def read(self, path: str, **request: Any) -> dict[str, Any]:
        """Send a GET request and return the JSON object."""
        return json_object(self.send("GET", path, **request))

    def pages(self, path: str, *, cursor: str, key: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list that comes in pages. `cursor` is the parameter that takes the last item's `key`."""
        position: dict[str, Any] = {}
        while True:
            body = self.read(path, params={"limit": PAGE, **position})
            yield from body["data"]
            if not body.get("has_more") or not body["data"]:
                return
            position = {cursor: body["data"][-1][key]}

    def lines(self, path: str, body: object) -> Iterator[str]:
        """Send a POST request and yield the lines of the response as they arrive."""
        with self._errors(), self.client.stream("POST", path, json=body) as response:
            if not response.is_success:
                response.read()
            _check(response)
            yield from response.iter_lines()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            hint = "is `softprompt serve` running?"
            raise ServerUnreachable(f"no server answers at {self.client.base_url}; {hint}") from error
        except httpx.TimeoutException as error:
            raise ServerUnreachable(f"{self.client.base_url} did not answer in time") from error
        except UnicodeEncodeError as error:  # an argument of the command line that is not text
            raise UsageProblem("an argument is not UTF-8 text") from error
        except httpx.HTTPError as error:
            raise ServerUnreachable(f"the connection to {self.client.base_url} broke") from error


@contextmanager
def connect(url: str, api_key: str | None, transport: httpx.BaseTransport | None = None) -> Iterator[Connection]:
    """Open a connection. `transport` replaces the network in tests. Raises UsageProblem for an invalid URL or key."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageProblem("--url (SOFTPROMPT_URL) is not a URL") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageProblem("--url (SOFTPROMPT_URL) must look like http://127.0.0.1:8000")
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise UsageProblem("--api-key (SOFTPROMPT_API_KEY) contains characters that are not printable ASCII")
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    with httpx.Client(base_url=parsed, headers=headers, timeout=timeout, transport=transport) as client:
        yield Connection(client)


def patiently(ask: Callable[[], _Result]) -> _Result:
    """Send a request, and repeat it while the server is unavailable. Return its result."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except (ServerUnreachable, ServerRefused) as error:
            is_away = isinstance(error, ServerUnreachable) or error.status in _AWAY
            if not is_away or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_S)


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return a response's JSON object. Raises ServerUnreachable if the response is not from a softprompt server."""
    try:
        body = response.json()
    except (ValueError, RecursionError) as error:
        raise not_our_server(response) from error
    if not isinstance(body, dict):
        raise not_our_server(response)
    return body


def error_text(error: Mapping[str, Any]) -> str:
    """Return the message of an error, with its parameter in front."""
    param, message = error.get("param"), str(error.get("message"))
    return message if not param or message.startswith(str(param)) else f"{param}: {message}"


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    error = json_object(response).get("error")
    if not isinstance(error, dict):
        raise not_our_server(response)
    raise ServerRefused(error_text(error), status=response.status_code)


def not_our_server(response: httpx.Response) -> ServerUnreachable:
    """Return the error for a response that is not from a softprompt server."""
    return ServerUnreachable(
        f"the server at {response.url.copy_with(path='/', query=None)} is not a softprompt server "
        f"(status {response.status_code})"
    )
