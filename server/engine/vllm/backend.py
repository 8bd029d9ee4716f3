"""What this engine needs of vLLM. Tests have a scripted one; `start.py` has vLLM's own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from softprompt_vllm.requests import EngineInputs

Ranked = tuple[float, int | None]
"""A natural log-probability, and its rank in the vocabulary from 1, where vLLM says it."""


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """What vLLM loaded. `block_groups` are block size and bytes of one block in each worker, per KV cache group.

    `num_kv_heads` and `head_dim` are those of the whole model, over all ranks.
    """

    max_context: int
    vocab_size: int
    hidden_size: int
    dtype: torch.dtype
    num_blocks: int
    block_groups: tuple[tuple[int, int], ...]
    num_layers: int
    num_kv_heads: int
    head_dim: int

    def prefix_bytes(self, num_virtual_tokens: int) -> int:
        """Bytes that the connector keeps of a soft prompt, in each worker: whole blocks."""
        return sum(num_bytes * -(-num_virtual_tokens // size) for size, num_bytes in self.block_groups)


@dataclass(frozen=True, slots=True)
class BackendStats:
    """The counts of vLLM's scheduler. `kv_usage` is the share of its blocks that requests hold, from 0 to 1."""

    num_steps: int = 0
    num_step_tokens: int = 0
    num_preemptions: int = 0
    num_last_sequences: int = 0
    num_last_tokens: int = 0
    kv_usage: float = 0.0


@dataclass(frozen=True, slots=True)
class Output:
    """New tokens of a sequence. `logprobs` has one entry per token where they were asked for.

    `finish_reason` is set on the last one: "stop", "length", or "error" of a request that vLLM refused.
    """

    token_ids: tuple[int, ...] = ()
    logprobs: Sequence[Mapping[int, Ranked]] = ()
    prompt_logprobs: Sequence[Mapping[int, Ranked] | None] = ()
    num_cached_tokens: int = 0
    finish_reason: str | None = None


class Backend(Protocol):
    """A running engine of vLLM. All methods belong to one event loop, but for `close`."""

    @property
    def facts(self) -> BackendFacts:
        """Sizes of the model and of the KV cache."""

    @property
    def stats(self) -> BackendStats:
        """The latest counts."""

    @property
    def is_alive(self) -> bool:
        """Whether its processes live."""

    def generate(self, request_id: str, inputs: EngineInputs) -> AsyncGenerator[Output, None]:
        """Run one sequence. Closing the iterator early, or cancelling its consumer, aborts it.

        Raises `RequestRefused` where vLLM does not take it, and `EngineStopped` where the engine has died.
        """

    async def embed(self, token_ids: Sequence[int]) -> torch.Tensor:
        """The rows `[num_tokens, hidden_size]` of tokens, as the model reads them, in its dtype."""

    def close(self) -> None:
        """End vLLM's processes."""
