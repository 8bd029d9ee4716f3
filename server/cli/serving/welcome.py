"""The text that `softprompt serve` prints once it is ready: the address, and three commands to try."""

from __future__ import annotations

import json

from server import __version__
from server.settings import ServeSettings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def welcome(settings: ServeSettings, port: int, *, is_open: bool) -> str:
    """Return the text. `port` is the bound port; `is_open` is True if the server needs no key."""
    url = address(settings.host, port, scheme="http" if settings.tls_cert is None else "https") + settings.root_path
    commands = "\n".join(f"  {command}" for command in curl_commands(settings, url, is_open=is_open))
    return f"\nsoftprompt-server {__version__} is ready: {url} (its API: {url}/docs)\n\n{commands}\n"


def address(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL of the server on this machine."""
    host = _ANYWHERE.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def curl_commands(settings: ServeSettings, url: str, *, is_open: bool) -> list[str]:
    """Return three commands: two completions and a classification for the demo, else commands for any base model."""
    curl = "curl -s" if is_open else 'curl -s -H "authorization: Bearer $SOFTPROMPT_API_KEY"'
    if settings.base_model is not None:
        return [
            f"{curl} {url}/v1/models",
            f"{curl} {url}/v1/tasks",
            f"softprompt task publish DIR --task NAME --url {url}",
        ]
    return [
        _post(curl, f"{url}/v1/completions", {"model": "sentiment", "prompt": "What a wonderful little film."}),
        _post(curl, f"{url}/v1/completions", {"model": "date-iso", "prompt": "March 5, 2021"}),
        _post(curl, f"{url}/v1/classify", {"model": "sentiment", "input": "The soup was cold and the waiter rude."}),
    ]


def _post(curl: str, url: str, body: dict[str, str]) -> str:
    return f"{curl} {url} -H 'content-type: application/json' -d '{json.dumps(body)}'"
