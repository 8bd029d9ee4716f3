"""Batches by the `openai` package, with every optional argument that it offers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from inspect import signature
from typing import Any

import openai

from tests.clients.scenario import MODEL, check_refused, scenario

client = openai.OpenAI(max_retries=0)
ENDED = ("completed", "failed", "expired", "cancelled")


def _upload(bodies: Sequence[Any], url: str) -> str:
    lines = [
        {"custom_id": f"r{number}", "method": "POST", "url": url, "body": body} for number, body in enumerate(bodies)
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    return client.files.create(file=("requests.jsonl", data), purpose="batch").id


def _ended(batch_id: str) -> Any:
    deadline = time.monotonic() + 60
    while (batch := client.batches.retrieve(batch_id)).status not in ENDED:
        assert time.monotonic() < deadline, f"the batch is still {batch.status}"
        time.sleep(0.1)
    return batch


def _run(url: Any, body: Any) -> None:
    """Upload, create, wait, read the answers."""
    made = client.batches.create(
        input_file_id=_upload([body, {**body, "model": "no-such-task"}], url),
        endpoint=url,
        completion_window="24h",
        metadata={"night": "1"},
    )
    batch = _ended(made.id)
    assert (batch.status, batch.metadata) == ("completed", {"night": "1"})
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (2, 1, 1)
    (answer,) = map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
    assert (answer["custom_id"], answer["response"]["status_code"]) == ("r0", 200)
    (error,) = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
    assert error["response"]["status_code"] == 404


for url, body in {
    "/v1/completions": {"model": MODEL, "prompt": "late again", "max_tokens": 4},
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "late again"}]},
}.items():
    scenario("batches", url)(partial(_run, url, body))


@scenario("batches", "list, cancel")
def list_and_cancel() -> None:
    body = {"model": MODEL, "prompt": "late again"}
    file = _upload([body], "/v1/completions")
    made = client.batches.create(input_file_id=file, endpoint="/v1/completions", completion_window="24h")
    assert made.id in [found.id for found in client.batches.list(limit=1)]
    with suppress(openai.ConflictError):  # it may have ended by itself
        client.batches.cancel(made.id)
    assert _ended(made.id).status in ("cancelled", "completed")


@scenario("batches", "a file that is wrong")
def wrong_file() -> None:
    file = client.files.create(file=("requests.jsonl", b'{"custom_id": "a"}\n'), purpose="batch").id
    made = client.batches.create(input_file_id=file, endpoint="/v1/completions", completion_window="24h")
    batch = _ended(made.id)
    assert batch.status == "failed"
    assert batch.errors.data[0].line == 1


@scenario("batches", "output_expires_after is refused")
def output_expires_after() -> None:
    offered = {name for name in signature(client.batches.create).parameters if not name.startswith("extra_")}
    known = {"completion_window", "endpoint", "input_file_id", "metadata", "output_expires_after", "timeout"}
    assert offered == known, offered
    body = {"model": MODEL, "prompt": "late again"}
    check_refused(
        partial(
            client.batches.create,
            input_file_id=_upload([body], "/v1/completions"),
            endpoint="/v1/completions",
            completion_window="24h",
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        ),
        openai.BadRequestError,
        "output_expires_after",
    )
