"""The input file of `softprompt batch` as lines of a batch, in OpenAI's format.

A line is one of three: a line of OpenAI's format; a JSON object that is the body itself, with an optional `custom_id`;
or any other text, which is the input. Lines without a `custom_id` are named by their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.cli.errors import FilesProblem

DEFAULT_ENDPOINT = "/v1/completions"
_OF_TEXT: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "/v1/completions": lambda text: {"prompt": text},
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/classify": lambda text: {"input": text},
    "/v1/embeddings": lambda text: {"input": text},
}
ENDPOINTS = tuple(_OF_TEXT)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that the server takes."""

    endpoint: str
    data: bytes
    num_lines: int


def prepare(data: bytes, *, model: str | None, endpoint: str | None) -> Prepared:
    """Read an input file. `model` is that of lines that name none; `endpoint` None is that of the first line with one.

    Raises FilesProblem, with the number of the line.
    """
    lines = [(number, _parse(number, text)) for number, text in _numbered(data)]
    if not lines:
        raise FilesProblem("the input file has no lines")
    if endpoint is None:
        named = (line["url"] for _, line in lines if isinstance(line, dict) and "url" in line)
        endpoint = next(named, DEFAULT_ENDPOINT)
    if endpoint not in ENDPOINTS:
        raise FilesProblem(f"url must be one of {', '.join(ENDPOINTS)}")
    whole = [json.dumps(_whole(number, line, model, endpoint)) for number, line in lines]
    return Prepared(endpoint, ("\n".join(whole) + "\n").encode(), len(whole))


def _numbered(data: bytes) -> Iterator[tuple[int, str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FilesProblem("the input file is not UTF-8 text") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _parse(number: int, text: str) -> dict[str, Any] | str:
    """A line as an object or as a text. Raises FilesProblem for an object that is not JSON."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        value: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FilesProblem(f"line {number} begins like JSON but is not valid JSON") from error
    return value


def _whole(number: int, line: dict[str, Any] | str, model: str | None, endpoint: str) -> dict[str, Any]:
    """A line in OpenAI's format, for the server to check."""
    if isinstance(line, str):
        line = {"body": _OF_TEXT[endpoint](line)}
    elif "body" not in line:
        line = {"custom_id": line.get("custom_id"), "body": {k: v for k, v in line.items() if k != "custom_id"}}
    custom_id = line.get("custom_id")
    body = line["body"]
    if isinstance(body, dict) and "model" not in body:
        if model is None:
            raise FilesProblem(f"line {number} names no model: give one with --model")
        body = {"model": model, **body}
    custom_id = f"line-{number}" if custom_id is None else custom_id
    return {"method": "POST", "url": endpoint, **line, "custom_id": custom_id, "body": body}
