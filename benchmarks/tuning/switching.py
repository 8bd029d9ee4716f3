"""What switching task takes: with PEFT, with all weights, and on a live server. Medians in milliseconds."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from safetensors.torch import load_file, save_file

from benchmarks.live_server import checkpoint, live_server
from benchmarks.tuning.training import with_lora
from demo.prompt_tuning import load_base
from server.demo import BASE_DIR


def switching() -> dict[str, float]:
    """Return medians in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        return {**switching_weights(Path(folder)), **switching_soft_prompts()}


def switching_weights(folder: Path) -> dict[str, float]:
    """Another LoRA that is loaded already, one that is not, and another set of all weights, in PEFT and torch."""
    model = with_lora(load_base(BASE_DIR))
    model.save_pretrained(str(folder / "lora"))
    names = iter(range(1000))
    loads = median_ms(10, lambda: model.load_adapter(str(folder / "lora"), f"lora-{next(names)}"))
    sets = median_ms(50, lambda: model.set_adapter(f"lora-{next(names) % 10}"))
    base = load_base(BASE_DIR)
    save_file({name: value.clone() for name, value in base.state_dict().items()}, folder / "full.safetensors")
    full = median_ms(10, lambda: base.load_state_dict(load_file(folder / "full.safetensors")))
    return {"lora_set": sets, "lora_load": loads, "full_load": full}


def switching_soft_prompts() -> dict[str, float]:
    """A request of the same task as the one before, of another; an alias moved, and a new version, until it answers."""
    rows = np.random.default_rng(0).normal(size=(16, 256)).astype(np.float32)
    with live_server(device="cpu") as url, httpx.Client(base_url=url, timeout=60) as client:

        def ask(model: str) -> str:
            body = {"model": model, "prompt": "I want my money back", "max_tokens": 1}
            return client.post("/v1/completions", json=body).raise_for_status().headers["x-softprompt-version"]

        def publish(seed: int) -> None:
            files = checkpoint(rows + seed)
            client.post("/v1/tasks/switch/versions", files=files, data={"promote": "true"}).raise_for_status()
            assert ask("switch") == str(seed)

        seeds = iter(range(1, 1000))
        published = median_ms(10, lambda: publish(next(seeds)))
        path = "/v1/tasks/switch/aliases/production"
        etag = client.get(path).headers["etag"]

        def move(version: int) -> None:
            nonlocal etag
            moved = client.put(path, json={"version": version}, headers={"if-match": etag}).raise_for_status()
            etag = moved.headers["etag"]
            assert ask("switch") == str(version)

        turns, tasks = iter(range(1000)), itertools.cycle(["route", "triage", "sentiment", "intent"])
        return {
            "same_task": median_ms(100, lambda: ask("route")),
            "other_task": median_ms(100, lambda: ask(next(tasks))),
            "alias_move": median_ms(50, lambda: move(1 + next(turns) % 2)),
            "publish": published,
        }


def median_ms(num_times: int, work: Callable[[], object]) -> float:
    """Return the median time of a piece of work, the first time not counted."""
    times = []
    for _ in range(num_times):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[1:])
