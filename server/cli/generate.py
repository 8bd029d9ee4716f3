"""`softprompt generate`: one completion, printed as it arrives."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from server.cli.errors import ServerRefused, ServerUnreachable
from server.cli.output import print_json, printable
from server.cli.streams import read_input
from server.cli.where import DEFAULT_URL, ApiKey, Url

DATA, DONE = "data:", "[DONE]"
PATH = "/v1/completions"
_BROKE_OFF = "the answer broke off before its end; the printed text is incomplete"


def generate(
    task: Annotated[str, typer.Argument(help="`task`, `task@3` or `task@alias`.", show_default=False)],
    text: Annotated[str, typer.Argument(help="The input, or - to read standard input.", show_default=False)],
    *,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=0, help="Maximum number of tokens of the answer.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0, help="Sampling temperature; 0 is greedy.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the sampling.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Print the answer as it arrives. An ensemble needs --no-stream."),
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the server's whole response as JSON.")] = False,
) -> None:
    """Generate one completion with a task of a running server. Options left out take the task's defaults."""
    from server.cli.connection import connect, json_object, not_our_server

    options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    body: dict[str, Any] = {"model": task, "prompt": read_input() if text == "-" else text}
    body |= {name: value for name, value in options.items() if value is not None}
    with connect(url, api_key) as connection:
        if json:
            print_json(json_object(connection.send("POST", PATH, json=body)))
            return
        if not stream:
            answer = connection.send("POST", PATH, json=body)
            try:
                text = "".join(choice["text"] for choice in json_object(answer)["choices"])
            except (LookupError, TypeError) as error:
                raise not_our_server(answer) from error
            print(printable(text))
            return
        for piece in texts(connection.lines(PATH, body | {"stream": True})):
            print(printable(piece), end="", flush=True)
    print()


def texts(lines: Iterable[str]) -> Iterator[str]:
    """Yield the text of each event of a completion stream, up to its end.

    Raises ServerRefused for an error event, and ServerUnreachable if the stream ends without its end mark.
    """
    for line in lines:
        data = line.removeprefix(DATA).strip()
        if not line.startswith(DATA):
            continue
        if data == DONE:
            return
        yield from _texts_of(data)
    raise ServerUnreachable(_BROKE_OFF)


def _texts_of(data: str) -> list[str]:
    try:
        event = json_format.loads(data)
        if "error" not in event:
            return [choice["text"] for choice in event["choices"]]
        message = str(event["error"]["message"])
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise ServerUnreachable(_BROKE_OFF) from error
    raise ServerRefused(message, status=500)
