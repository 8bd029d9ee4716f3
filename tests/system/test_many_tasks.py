"""More tasks than fit: all are served, cold ones included."""

from __future__ import annotations

import asyncio

import httpx
import torch

from prompts_store.names import TaskReference
from server.model.base_model import BaseModelOptions, load_base_model
from server.model.prefix import Prefix
from server.model.twin import make_twin
from tests.devices import DEVICE, NAME
from tests.system.live_server import checkpoint, live_server, publish, tiny_base

NUM_TASKS = 200
NUM_VIRTUAL = 12  # one block of 16 each
NUM_NEW = 6


def greedy(model, prefix: Prefix, prompt: list[int]) -> list[int]:
    """The stock model alone, recomputing everything for each token."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(NUM_NEW):
            embeds = torch.cat(
                [prefix.tensor.to(DEVICE), model.get_input_embeddings()(torch.tensor(tokens, device=DEVICE))]
            )
            tokens.append(int(model(inputs_embeds=embeds[None], use_cache=False).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


async def test_200_tasks_at_once_with_room_for_20_prefixes(tmp_path):
    """Every task answers as the stock model does alone; prefixes come and go; nothing is left behind."""
    base = tiny_base(tmp_path / "base")
    settings = {"num_kv_blocks": 80, "max_prefix_share": 0.25, "device": NAME}  # 20 blocks for prefixes
    with live_server(base_model=str(base), data_dir=tmp_path / "data", **settings) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for index in range(NUM_TASKS):
                manifest = {"defaults": {"temperature": 0, "max_tokens": NUM_NEW, "ignore_eos": True}}
                publish(client, f"task-{index}", checkpoint(index, NUM_VIRTUAL), manifest=manifest)
        prompt = server.services.inference.tokenizer.encode("a word or two about it")
        limits = httpx.Limits(max_connections=NUM_TASKS)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
            bodies = [
                {"model": f"task-{index}", "prompt": list(prompt), "return_token_ids": True}
                for index in range(NUM_TASKS)
            ]
            responses = await asyncio.gather(*(client.post("/v1/completions", json=body) for body in bodies))
        assert [response.status_code for response in responses] == [200] * NUM_TASKS
        stats = await asyncio.to_thread(server.idle_stats)
        assert stats.num_resident_prefixes <= 20
        assert stats.num_prefix_loads >= NUM_TASKS
        twin = make_twin(load_base_model(BaseModelOptions(str(base), device="cpu")).model)
        for index, response in enumerate(responses):
            served = await server.services.inference.catalog.resolve(TaskReference.parse(f"task-{index}"))
            expected = greedy(twin, served.parts[0].prefix, list(prompt))
            assert response.json()["choices"][0]["token_ids"] == expected, index
