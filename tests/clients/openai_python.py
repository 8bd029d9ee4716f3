"""The `openai` package: chats, streams, answers put back, a loop without tools, completions, models, tuning."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import openai

from tests.clients import (  # noqa: F401 - they register scenarios of their own
    openai_python_batches,
    openai_python_files,
    openai_python_heads,
    openai_python_tuning,
)
from tests.clients.scenario import MODEL, TURNS, check_answer, run, scenario

client = openai.OpenAI(max_retries=0)
MESSAGES: Any = [{"role": "user", "content": TURNS[0]}]


@scenario("chat")
def chat() -> None:
    completion = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    check_answer(completion.choices[0].message.content)
    assert completion.usage


@scenario("stream", "create")
def stream() -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    check_answer("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices))
    assert chunks[-1].usage


@scenario("stream", "stream()")
def stream_helper() -> None:
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as events:
        assert "content.done" in {event.type for event in events}


def _create(messages: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages).choices[0].message


def _stream(messages: Any) -> Any:
    with client.chat.completions.stream(model=MODEL, messages=messages) as events:
        return events.get_final_completion().choices[0].message


def _parse(messages: Any) -> Any:
    return client.chat.completions.parse(model=MODEL, messages=messages).choices[0].message


def _converse(ask: Callable[[Any], Any], put_back: Callable[[Any], Any]) -> None:
    messages: list[Any] = []
    for text in TURNS:
        messages.append({"role": "user", "content": text})
        message = ask(messages)
        check_answer(message.content)
        messages.append(put_back(message))


for ask_name, ask in {"create()": _create, "stream()": _stream, "parse()": _parse}.items():
    for form, put_back in {
        "itself": lambda message: message,
        "model_dump()": lambda message: message.model_dump(),
        "to_dict()": lambda message: message.to_dict(),
        "JSON": lambda message: json.loads(message.model_dump_json()),
    }.items():
        scenario("turns", f"{ask_name}, {form}")(partial(_converse, ask, put_back))


def _loop(**asked: Any) -> None:
    """The loop of OpenAI's guides: call tools as long as the model asks for some."""
    messages: list[Any] = [{"role": "system", "content": "Answer in a word."}, *MESSAGES]
    for _ in range(3):
        message = client.chat.completions.create(model=MODEL, messages=messages, **asked).choices[0].message
        messages.append(message)
        if not message.tool_calls:
            break
    check_answer(message.content)


for variant, asked in {
    "tools left out": {},
    "tools=[]": {"tools": []},
    "tools=None": {"tools": None, "tool_choice": None},
    "tools=[], tool_choice": {"tools": [], "tool_choice": "none", "parallel_tool_calls": False},
}.items():
    scenario("agent", variant)(partial(_loop, **asked))


@scenario("completions")
def completions() -> None:
    check_answer(client.completions.create(model=MODEL, prompt=TURNS[0]).choices[0].text)
    chunks = client.completions.create(model=MODEL, prompt=TURNS[0], stream=True)
    check_answer("".join(chunk.choices[0].text for chunk in chunks))


@scenario("models")
def models() -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


if __name__ == "__main__":
    run()
