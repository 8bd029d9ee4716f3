"""Bodies and event streams as they are on the wire, byte for byte but for ids and times.

A golden file that is missing is written, and its test fails: look at it, then commit it.
"""

import re
from pathlib import Path

import pytest

from server.engine.errors import EngineOverloaded
from tests.api.conftest import publish

GOLDEN = Path(__file__).parent / "golden"
VARIABLE = [
    (re.compile(r'"id":"(cmpl|chatcmpl|classify)-[0-9a-f]{32}"'), r'"id":"\1-ID"'),
    (re.compile(r'"created":\d+'), '"created":0'),
    (re.compile(r'"(created_at|updated_at|retired_at|moved_at)":"[^"]+"'), r'"\1":"TIME"'),
]
PROMPT = {"model": "sentiment", "prompt": "Größe 你"}
CHAT = {"model": "sentiment@1", "messages": [{"role": "user", "content": "a"}]}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
REQUESTS = {
    "completion.json": ("POST", "/v1/completions", PROMPT),
    "completion_everything.json": (
        "POST", "/v1/completions", PROMPT | {"echo": True, "logprobs": 1, "n": 2, "return_token_ids": True},
    ),
    "completion_stream.txt": ("POST", "/v1/completions", PROMPT | {"stream": True, "logprobs": 0}),
    "completion_stream_usage.txt": ("POST", "/v1/completions", PROMPT | STREAM | {"return_token_ids": True}),
    "chat.json": ("POST", "/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 1}),
    "chat_stream.txt": ("POST", "/v1/chat/completions", CHAT | {"stream": True, "n": 2}),
    "chat_stream_usage.txt": ("POST", "/v1/chat/completions", CHAT | STREAM | {"logprobs": True}),
    "classify.json": ("POST", "/v1/classify", {"model": "sentiment", "input": ["a", "b"]}),
    "models.json": ("GET", "/v1/models", None),
    "tasks.json": ("GET", "/v1/tasks", None),
    "versions.json": ("GET", "/v1/tasks/sentiment/versions", None),
    "aliases.json": ("GET", "/v1/tasks/sentiment/aliases", None),
    "history.json": ("GET", "/v1/tasks/sentiment/aliases/production/history", None),
    "error_unknown_task.json": ("POST", "/v1/completions", PROMPT | {"model": "unknown"}),
    "error_out_of_range.json": ("POST", "/v1/completions", PROMPT | {"temperature": 5}),
    "error_unsupported.json": ("POST", "/v1/completions", PROMPT | {"tools": []}),
    "error_unknown_parameter.json": ("POST", "/v1/completions", PROMPT | {"topp": 1}),
    "error_wrong_prompt.json": ("POST", "/v1/completions", PROMPT | {"prompt": 5}),
    "error_context.json": ("POST", "/v1/completions", PROMPT | {"max_tokens": 1000}),
}  # fmt: skip


def check(name, text):
    for pattern, replacement in VARIABLE:
        text = pattern.sub(replacement, text)
    file = GOLDEN / name
    if not file.exists():
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        pytest.fail(f"{name} was missing and has been written")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_is_on_the_wire_stays_as_it_is(client, name):
    """A change here is a change for every client."""
    await publish(client)
    method, path, body = REQUESTS[name]
    response = await client.request(method, path, json=body)
    check(name, response.text)


async def test_failures_of_the_engine_stay_as_they_are(client, engine):
    """At the door, and in the middle of a stream."""
    await publish(client)
    engine.fail_after = 1
    check("error_in_stream.txt", (await client.post("/v1/completions", json=PROMPT | {"stream": True})).text)
    engine.refuse = EngineOverloaded("full")
    check("error_overloaded.json", (await client.post("/v1/completions", json=PROMPT)).text)
