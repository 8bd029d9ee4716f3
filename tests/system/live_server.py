"""The whole product in this process: real model, engine, store and HTTP on a free loopback port."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
import uvicorn
from safetensors.numpy import save
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from server.api.services import Services
from server.app import build_services, create_app
from server.demo import BASE_DIR
from server.engine.client import EngineStats
from server.settings import ServeSettings

HIDDEN_SIZE = 32


@dataclass(frozen=True)
class LiveServer:
    """A server that listens at `url`."""

    url: str
    services: Services

    def idle_stats(self, within_s: float = 30.0) -> EngineStats:
        """The engine's state once nothing runs or waits and no lease is open; fails if that does not come."""
        deadline = time.monotonic() + within_s
        while True:
            stats = self.services.inference.engine.stats
            if stats.num_running == stats.num_waiting == stats.num_leases == 0:
                return stats
            assert time.monotonic() < deadline, f"the engine did not come to rest: {stats}"
            time.sleep(0.01)


@contextmanager
def live_server(**settings: Any) -> Iterator[LiveServer]:
    """Serve until the context closes."""
    services = build_services(ServeSettings(**settings))
    config = uvicorn.Config(create_app(services), port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield LiveServer(f"http://127.0.0.1:{port}", services)
    finally:
        server.should_exit = True
        thread.join(30)


def tiny_base(folder: Path) -> Path:
    """A seeded random Llama of a few thousand parameters with the demo's tokenizer, as a folder to serve."""
    tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def checkpoint(seed: int, num_virtual_tokens: int = 5, hidden_size: int = HIDDEN_SIZE) -> dict[str, bytes]:
    """A PROMPT_TUNING checkpoint of random rows, by form field."""
    rows = np.random.default_rng(seed).normal(size=(num_virtual_tokens, hidden_size)).astype(np.float32)
    config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": num_virtual_tokens}
    return {"adapter_config": json.dumps(config).encode(), "adapter_model": save({"prompt_embeddings": rows})}


def publish(client: httpx.Client, task: str, files: dict[str, bytes], **form: Any) -> dict[str, Any]:
    """Publish a version over HTTP; `manifest` in `form` is JSON-encoded."""
    data = {name: json.dumps(value) if isinstance(value, dict | bool) else value for name, value in form.items()}
    response = client.post(
        f"/v1/tasks/{task}/versions", files={name: (name, content) for name, content in files.items()}, data=data
    )
    assert response.status_code in (200, 201), response.text
    answer: dict[str, Any] = response.json()
    return answer
