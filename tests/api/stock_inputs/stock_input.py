"""One request, or one line of a training file, as a stock client sends it, and what should come of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

MODEL = "sentiment"
BASE = "tiny-base"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
JOBS = "/v1/fine_tuning/jobs"
FILES = "/v1/files"


@dataclass(frozen=True, slots=True)
class StockInput:
    """`refused` names the field whose refusal is right; None is for what should be accepted.

    `status` is that of the refusal. A `body` of bytes is sent as it is. `{file}` in JSON is the id of an uploaded file.
    """

    name: str
    client: str
    method: str
    path: str
    body: Any = None
    refused: str | None = None
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StockLine:
    """A line of a training file; `refused` is the key that the refusal should name."""

    name: str
    client: str
    line: bytes
    refused: str | None = None


_FILM = "What a film."


def shown(value: Any) -> str:
    """A name for a JSON value, in which what many have in common is left out."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for common, short in (
        ('"role":"user"', "user"),
        ('"role":"assistant"', "assistant"),
        (f'"content":"{_FILM}"', "…"),
    ):
        text = text.replace(common, short)
    return text if len(text) <= 140 else f"{text[:139]}…"


def user(content: Any = _FILM, **more: Any) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": content, **more}


def chat(client: str, refused: str | None = None, /, *, name: str = "", **fields: Any) -> StockInput:
    """A chat of one message with further fields."""
    body = {"model": MODEL, "messages": [user()], **fields}
    return StockInput(f"chat: {name or shown(fields)}", client, "POST", CHAT, body, refused)


def said(client: str, refused: str | None, /, *messages: dict[str, Any], name: str = "") -> StockInput:
    """A chat of these messages, whose last one is the user's."""
    whole = list(messages) if messages[-1]["role"] == "user" else [*messages, user()]
    body = {"model": MODEL, "messages": whole}
    return StockInput(f"messages: {name or shown([*messages])}", client, "POST", CHAT, body, refused)


def answered(client: str, refused: str | None = None, /, content: Any = "positive", **more: Any) -> StockInput:
    """A conversation in which the client puts back an answer, with what it keeps beside the text."""
    answer = {"role": "assistant", "content": content, **more}
    body = {"model": MODEL, "messages": [user(), answer, user("And this?")]}
    return StockInput(
        f"put back: {shown(more if content == 'positive' else answer)}", client, "POST", CHAT, body, refused
    )


def completion(client: str, refused: str | None = None, /, *, name: str = "", **fields: Any) -> StockInput:
    """A completion with further fields."""
    body = {"model": MODEL, "prompt": _FILM, **fields}
    return StockInput(f"completion: {name or shown(fields)}", client, "POST", COMPLETIONS, body, refused)


def job(client: str, refused: str | None = None, /, status: int = 400, **fields: Any) -> StockInput:
    """A tuning job of an uploaded file."""
    body = {"model": BASE, "training_file": "{file}", "suffix": "mood", **fields}
    return StockInput(f"job: {shown(fields)}", client, "POST", JOBS, body, refused, status)


def get(client: str, path: str, refused: str | None = None, /, *, method: str = "GET", status: int = 400) -> StockInput:
    """A request without a body."""
    return StockInput(f"{method} {path}", client, method, path, None, refused, status)
