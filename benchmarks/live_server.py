"""A server in a process of its own, as an operator starts it, and what its clients send."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import save

from benchmarks.folders import CACHE, ROOT
from benchmarks.process import ContenderUnavailable

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def live_server(**settings: Any) -> Iterator[str]:
    """Serve until the block ends, with the given settings; the block gets the address."""
    with live_process(**settings) as (_, address):
        yield address


@contextmanager
def live_process(**settings: Any) -> Iterator[tuple[int, str]]:
    """The same; the block gets the process's id and the address."""
    log = CACHE / "logs" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data_dir:
        command = [sys.executable, "-c", "from server.cli import main; main()", "serve", "--port", "0"]
        for name, value in ({"data_dir": data_dir} | settings).items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        with (
            log.open("a") as errors,
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            try:
                assert process.stdout is not None
                address = next((found[0] for line in process.stdout if (found := _ADDRESS.search(line))), None)
                if address is None:
                    raise ContenderUnavailable(f"the server did not start; see {log}")
                yield process.pid, address
            finally:
                process.terminate()


def checkpoint(matrix: np.ndarray) -> dict[str, tuple[str, bytes]]:
    """A PROMPT_TUNING checkpoint as form fields, from a matrix `[num_virtual_tokens, hidden_size]`."""
    config = {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": matrix.shape[0],
        "token_dim": matrix.shape[1],
    }
    files = {"adapter_config": json.dumps(config).encode(), "adapter_model": save({"prompt_embeddings": matrix})}
    return {name: (name, content) for name, content in files.items()}


async def stream_completion(client: httpx.AsyncClient, body: dict[str, Any]) -> AsyncIterator[list[int]]:
    """Token ids of each event of a streamed completion. Raises `httpx.HTTPStatusError`."""
    body = body | {"stream": True, "return_token_ids": True}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    raise RuntimeError(event["error"]["message"])
                for choice in event["choices"]:
                    if choice.get("token_ids"):
                        yield choice["token_ids"]
