"""The same text behind two prefixes: blocks are shared within a prefix, whatever names it, and never across."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from tests.devices import NAME
from tests.system.live_server import HIDDEN_SIZE, live_server, publish, tiny_base

NUM_VIRTUAL = 5
TEXT = "the quick brown fox jumps over the lazy dog and runs away from every hound of the village"
DEFAULTS = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared_text")
    base = tiny_base(folder / "base")
    with (
        live_server(base_model=str(base), data_dir=folder / "data", num_kv_blocks=400, device=NAME) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client


def multitask_checkpoint(num_tasks: int = 2, num_ranks: int = 1) -> dict[str, bytes]:
    random = np.random.default_rng(0)
    shapes = {
        "prompt_embeddings": (NUM_VIRTUAL, HIDDEN_SIZE),
        "prefix_task_cols": (num_tasks, NUM_VIRTUAL, num_ranks),
        "prefix_task_rows": (num_tasks, num_ranks, HIDDEN_SIZE),
    }
    config = {
        "peft_type": "MULTITASK_PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": NUM_VIRTUAL,
        "num_tasks": num_tasks,
        "num_ranks": num_ranks,
    }
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {"adapter_config": json.dumps(config).encode(), "adapter_model": save(tensors)}


def ask(client: httpx.Client, model: str) -> tuple[str, int]:
    """The answer to the text, and how many of its tokens were cached."""
    response = client.post("/v1/completions", json={"model": model, "prompt": TEXT})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer["choices"][0]["text"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_the_tasks_of_a_multitask_checkpoint_never_share_text(client):
    """Each computes the text for itself the first time, then finds it, and answers the same from cached blocks."""
    for index in (0, 1):
        publish(client, f"part-{index}", multitask_checkpoint(), manifest={"task_index": index, "defaults": DEFAULTS})
    first = [ask(client, f"part-{index}") for index in (0, 1)]
    again = [ask(client, f"part-{index}") for index in (0, 1)]
    assert [cached for _, cached in first] == [0, 0]
    assert all(cached >= 16 for _, cached in again)
    assert [text for text, _ in first] == [text for text, _ in again]
    assert first[0][0] != first[1][0], "the two were meant to answer differently"


def test_versions_that_differ_in_their_defaults_share_text(client):
    """They are the same prefix, so the second version finds the blocks of the first."""
    for note, more in (("one", {}), ("two", {"top_k": 7})):
        manifest = {"task_index": 1, "note": note, "defaults": {**DEFAULTS, **more}}
        publish(client, "twice", multitask_checkpoint(), manifest=manifest)
    before, _ = ask(client, "twice@1")
    after, cached = ask(client, "twice@2")
    assert (after, cached >= 16) == (before, True)
