"""A soft prompt whose numbers overflow in the model harms its own requests and nobody else's."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from tests.devices import NAME
from tests.system.live_server import checkpoint, live_server, publish, tiny_base

MANIFEST = {"defaults": {"temperature": 0, "max_tokens": 12, "ignore_eos": True}}
NUM_LAYERS, NUM_KV_HEADS, HEAD_DIM = 2, 2, 8


def prefix_tuning(scale: float, num_virtual_tokens: int = 6) -> dict[str, bytes]:
    """A PREFIX_TUNING checkpoint of keys and values of this size, all finite."""
    width = NUM_LAYERS * 2 * NUM_KV_HEADS * HEAD_DIM
    rows = np.random.default_rng(0).choice([-scale, scale], size=(num_virtual_tokens, width)).astype(np.float32)
    config = {
        "peft_type": "PREFIX_TUNING",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": num_virtual_tokens,
        "token_dim": NUM_KV_HEADS * HEAD_DIM,
        "num_layers": NUM_LAYERS,
        "num_attention_heads": NUM_KV_HEADS,
    }
    return {"adapter_config": json.dumps(config).encode(), "adapter_model": save({"prompt_embeddings": rows})}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A cache so small that every prefix is evicted and its blocks are handed to the next sequence at once."""
    folder = tmp_path_factory.mktemp("poisoned")
    base = tiny_base(folder / "base")
    settings = {"num_kv_blocks": 24, "block_size": 4, "max_num_seqs": 2, "max_prefix_share": 0.2, "device": NAME}
    with live_server(base_model=str(base), data_dir=folder / "data", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_its_blocks_never_reach_the_next_owner(server, client):
    """Good requests before, between and after answer alike; the bad ones are told why, and are no error of ours."""
    publish(client, "good", checkpoint(1, num_virtual_tokens=5), manifest=MANIFEST)
    publish(client, "other", checkpoint(2, num_virtual_tokens=7), manifest=MANIFEST)
    publish(client, "bad", prefix_tuning(3e38), manifest=MANIFEST)

    def ask(task: str) -> httpx.Response:
        return client.post("/v1/completions", json={"model": task, "prompt": "a few words about it"})

    expected = {task: ask(task).json()["choices"][0]["text"] for task in ("good", "other")}
    for _ in range(12):
        refused = ask("bad")
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "numbers_overflow"
        for task, text in expected.items():
            answer = ask(task)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["text"] == text
    server.idle_stats()


def test_chat_fills_what_the_cache_holds(client):
    """Without a limit, chat takes the room there is, be it the context's or that of a smaller KV cache."""
    body = {"model": "base", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["total_tokens"] <= 24 * 4
