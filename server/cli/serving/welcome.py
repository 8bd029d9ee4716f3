"""The text that `softprompt serve` prints once it is ready: the address, the base model's id, and three commands."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from server import __version__
from server.settings import ServeSettings

if TYPE_CHECKING:
    from server.api.services import Services

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def welcome(settings: ServeSettings, services: Services, port: int) -> str:
    """Return the text. `port` is the bound port."""
    url = address(settings.host, port, scheme="http" if settings.tls_cert is None else "https") + settings.root_path
    commands = curl_commands(
        url,
        services.base_id,
        is_demo=settings.base_model is None,
        is_open=services.access.keys.is_open,
        chats=services.inference.tokenizer.chat_template is not None,
    )
    lines = [
        "",
        f"softprompt-server {__version__} is ready: {url}",
        "",
        f"  The API:         {url}/docs",
        f'  The base model:  "model": {json.dumps(services.base_id)}',
        "",
        *(f"  {command}" for command in commands),
    ]
    return "\n".join(lines) + "\n"


def address(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL of the server on this machine."""
    host = _ANYWHERE.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def curl_commands(url: str, base_id: str, *, is_demo: bool, is_open: bool, chats: bool) -> list[str]:
    """Return three commands: two completions and a classification for the demo, else commands for any base model.

    `is_open` is True if the server needs no key, `chats` if the base model has a chat template.
    """
    curl = "curl -s" if is_open else 'curl -s -H "authorization: Bearer $SOFTPROMPT_API_KEY"'
    complete, classify = f"{url}/v1/completions", f"{url}/v1/classify"
    if is_demo:
        return [
            _post(curl, complete, {"model": "sentiment", "prompt": "What a wonderful little film."}),
            _post(curl, complete, {"model": "date-iso", "prompt": "March 5, 2021"}),
            _post(curl, classify, {"model": "sentiment", "input": "The soup was cold and the waiter rude."}),
        ]
    messages = [{"role": "user", "content": "What is a soft prompt?"}]
    return [
        _post(curl, f"{url}/v1/chat/completions", {"model": base_id, "messages": messages})
        if chats
        else _post(curl, complete, {"model": base_id, "prompt": "A soft prompt is"}),
        f"{curl} {url}/v1/models",
        f"softprompt task publish DIR --task NAME --url {url}",
    ]


def _post(curl: str, url: str, body: dict[str, Any]) -> str:
    return f"{curl} {url} -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}"
