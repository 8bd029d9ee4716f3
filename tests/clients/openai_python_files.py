"""Files by the `openai` package, with every optional argument that it offers."""

from __future__ import annotations

import tempfile
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import openai

from tests.clients.scenario import check_refused, jsonl, scenario

client = openai.OpenAI(max_retries=0)
PURPOSES = ("assistants", "vision", "user_data", "evals")


def _upload(file: Any) -> None:
    """Upload, look, read, delete."""
    made = client.files.create(file=file, purpose="fine-tune")
    assert client.files.wait_for_processing(made.id).status == "processed"
    assert client.files.content(made.id).read() == jsonl()
    assert made.id in [found.id for found in client.files.list(purpose="fine-tune", limit=1, order="desc")]
    assert client.files.delete(made.id).deleted


for variant, file in {
    "bytes": jsonl(),
    "name and bytes": ("train.jsonl", jsonl()),
    "name, bytes, type": ("train.jsonl", jsonl(), "application/jsonl"),
    "a name without an end": ("train", jsonl(), "application/json"),
}.items():
    scenario("files", variant)(partial(_upload, file))


@scenario("files", "a path, an open file")
def from_disk() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        path.write_bytes(jsonl())
        _upload(path)
        with path.open("rb") as file:
            _upload(file)


@scenario("files", "expires_after is refused")
def expires_after() -> None:
    offered = {name for name in signature(client.files.create).parameters if not name.startswith("extra_")}
    assert offered == {"file", "purpose", "expires_after", "timeout"}, offered
    check_refused(
        partial(
            client.files.create,
            file=("train.jsonl", jsonl()),
            purpose="fine-tune",
            expires_after={"anchor": "created_at", "seconds": 3600},
        ),
        openai.BadRequestError,
        "expires_after",
    )


@scenario("files", "another purpose is refused")
def another_purpose() -> None:
    for purpose in PURPOSES:
        create: Any = partial(client.files.create, file=("train.jsonl", jsonl()), purpose=purpose)
        check_refused(create, openai.BadRequestError, "purpose")
