"""The `openai` package: vectors in all their forms, and classifications by heads, which are ours, by `post`."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import openai

from tests.clients.scenario import LABELS, TAGGER, TOPIC, TURNS, VECTORS, check_refused, scenario

client = openai.OpenAI(max_retries=0)
IDS = [[20, 21, 22], [23]]


def _vectors(**asked: Any) -> list[list[float]]:
    return [item.embedding for item in client.embeddings.create(model=VECTORS, **asked).data]


def _is_close(first: list[float], second: list[float]) -> bool:
    return len(first) == len(second) and math.dist(first, second) < 1e-6


@scenario("embeddings", "a text")
def a_text() -> None:
    created = client.embeddings.create(model=VECTORS, input=TURNS[0])
    (item,) = created.data
    assert math.isclose(math.hypot(*item.embedding), 1, abs_tol=1e-5)
    assert created.usage.total_tokens == created.usage.prompt_tokens > 0


@scenario("embeddings", "a list of texts")
def a_list_of_texts() -> None:
    found = _vectors(input=list(TURNS))
    assert len(found) == len(TURNS)
    assert all(_is_close(one, *_vectors(input=text)) for one, text in zip(found, TURNS, strict=True))


@scenario("embeddings", "token ids")
def token_ids() -> None:
    found = _vectors(input=IDS)
    assert len(found) == len(IDS)
    assert _is_close(found[0], *_vectors(input=IDS[0]))


@scenario("embeddings", "float and base64")
def both_encodings() -> None:
    (numbers,) = _vectors(input=TURNS[0], encoding_format="float")
    encoded: Any
    (encoded,) = _vectors(input=TURNS[0], encoding_format="base64")  # asked for by name, it is not decoded
    assert _is_close(numbers, list(struct.unpack(f"<{len(numbers)}f", base64.b64decode(encoded))))
    assert _is_close(numbers, *_vectors(input=TURNS[0]))


@scenario("embeddings", "dimensions")
def dimensions() -> None:
    size = len(*_vectors(input=TURNS[0]))
    assert len(*_vectors(input=TURNS[0], dimensions=size)) == size
    check_refused(lambda: _vectors(input=TURNS[0], dimensions=size // 2), openai.BadRequestError, "dimensions")


@scenario("embeddings", "another task is refused")
def another_task() -> None:
    check_refused(lambda: client.embeddings.create(model=TOPIC, input=TURNS[0]), openai.BadRequestError, "model")


@scenario("heads", "classes")
def classes() -> None:
    found: Any = client.post("/classify", cast_to=object, body={"model": TOPIC, "input": list(TURNS)})
    assert len(found["data"]) == len(TURNS)
    for item in found["data"]:
        assert [entry["label"] for entry in item["probabilities"]] == LABELS
        assert math.isclose(sum(entry["probability"] for entry in item["probabilities"]), 1, abs_tol=1e-5)


@scenario("heads", "labels of tokens")
def labels_of_tokens() -> None:
    found: Any = client.post("/classify", cast_to=object, body={"model": TAGGER, "input": TURNS[0]})
    tokens = found["data"][0]["tokens"]
    assert [token["text"] for token in tokens] == [TURNS[0][token["start"] : token["end"]] for token in tokens]
    assert "".join(token["text"] for token in tokens) == TURNS[0]
    assert {token["label"] for token in tokens} <= set(LABELS)


@scenario("heads", "a completion is refused")
def a_completion() -> None:
    check_refused(lambda: client.completions.create(model=TOPIC, prompt=TURNS[0]), openai.BadRequestError, "model")
