"""Stand-ins for vLLM's request, its attention layers, and its KV cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from softprompt_vllm.cache_layout import CacheGroup, CacheLayout
from softprompt_vllm.requests import EngineInputs, capture_inputs, use_inputs

KEY = "k" * 64
DIGEST, OTHER = "a" * 64, "b" * 64
LAYERS = ("layers.0", "layers.1")
BLOCK_SIZE = 4
NUM_HEADS, DIM = 2, 3


@dataclass
class FakeRequest:
    """The fields of vLLM's request that the connector reads."""

    request_id: str = "r"
    cache_salt: str | None = None
    kv_transfer_params: Any = None
    prompt_token_ids: list[int] | None = None
    prompt_embeds: torch.Tensor | None = None
    skip_reading_prefix_cache: bool = False
    lora_request: Any = None
    mm_features: list[Any] = field(default_factory=list)
    pooling_params: Any = None
    resumable: bool = False
    sampling_params: Any = None

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.prompt_token_ids or ()) or len(self.prompt_embeds)

    @property
    def num_tokens(self) -> int:
        """Length of the prompt: nothing is generated here."""
        return self.num_prompt_tokens


def as_request(inputs: EngineInputs, request_id: str = "r") -> FakeRequest:
    """What vLLM makes of the inputs."""
    sampling = SimpleNamespace(**inputs.sampling)
    return FakeRequest(
        request_id,
        inputs.prompt.get("cache_salt"),
        inputs.sampling["extra_args"]["kv_transfer_params"],
        inputs.prompt.get("prompt_token_ids"),
        inputs.prompt.get("prompt_embeds"),
        inputs.sampling.get("skip_reading_prefix_cache", False),
        sampling_params=sampling,
    )


def use(digest: str = DIGEST, num: int = 6, request_id: str = "use") -> FakeRequest:
    """An honest request behind a soft prompt, with three tokens of text."""
    return as_request(use_inputs(digest, num, [7, 8, 9], placeholder_id=0), request_id)


def capture(digest: str = DIGEST, num: int = 6, request_id: str = "capture") -> FakeRequest:
    """An honest capture."""
    return as_request(capture_inputs(KEY, digest, torch.zeros(num, 8)), request_id)


def layout(num_blocks: int = 8) -> CacheLayout:
    """Two layers in one group, 96 bytes a block each."""
    group = CacheGroup(LAYERS, BLOCK_SIZE, 2 * BLOCK_SIZE * NUM_HEADS * DIM * 2 * 4)
    return CacheLayout(num_blocks, (group,), len(LAYERS), NUM_HEADS, DIM)


class FakeAttention:
    """An attention layer that stores key and value side by side, `[page, head, slot, 2 * dim]`."""

    kv_sharing_target_layer_name: str | None = None

    def __init__(self, num_kv_heads: int = NUM_HEADS, head_size: int = DIM, head_size_v: int = DIM) -> None:
        self.num_kv_heads = num_kv_heads
        self.head_size, self.head_size_v = head_size, head_size_v
        self.impl = self

    def do_kv_cache_update(self, layer, key, value, cache, slots) -> None:
        """Write `[num_tokens, heads, dim]` into slots."""
        assert (key.shape[-1], value.shape[-1]) == (self.head_size, self.head_size_v)
        size = cache.shape[2]
        for number, slot in enumerate(slots.tolist()):
            cache[slot // size, :, slot % size] = torch.cat([key[number], value[number]], dim=-1)
