"""`softprompt generate`: one completion, printed as it comes."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from server.cli.errors import ServerRefused
from server.cli.output import print_json, printable
from server.cli.streams import read_input
from server.cli.target import DEFAULT_URL, ApiKey, Url

DATA, DONE = "data:", "[DONE]"
PATH = "/v1/completions"


def generate(
    task: Annotated[str, typer.Argument(help="`task`, `task@3` or `task@alias`.", show_default=False)],
    text: Annotated[str, typer.Argument(help="The input; - reads standard input.", show_default=False)],
    *,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=0)] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", min=0)] = None,
    seed: Annotated[int | None, typer.Option("--seed")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print it as it comes; an ensemble answers at once only.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the server's whole answer as JSON.")] = False,
) -> None:
    """Ask a task of a running server, for a quick look. What is not given, the task's defaults decide."""
    from server.cli.connection import connect

    options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    body: dict[str, Any] = {"model": task, "prompt": read_input() if text == "-" else text}
    body |= {name: value for name, value in options.items() if value is not None}
    with connect(url, api_key) as connection:
        if json:
            print_json(connection.send("POST", PATH, json=body).json())
            return
        if not stream:
            answer = connection.send("POST", PATH, json=body).json()
            print(printable("".join(choice["text"] for choice in answer["choices"])))
            return
        for piece in texts(connection.lines(PATH, body | {"stream": True})):
            print(printable(piece), end="", flush=True)
    print()


def texts(lines: Iterable[str]) -> Iterator[str]:
    """Yield the text of each event of a completion stream. Raises ServerRefused for an error amid the stream."""
    for line in lines:
        data = line.removeprefix(DATA).strip()
        if not line.startswith(DATA) or data == DONE:
            continue
        event = json_format.loads(data)
        if "error" in event:
            raise ServerRefused(event["error"]["message"], status=500)
        yield from (choice["text"] for choice in event["choices"])
