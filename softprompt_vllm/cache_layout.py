"""The groups and sizes of vLLM's KV cache, as both halves need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers that share one list of blocks per request. `block_bytes` are those of one block in all its layers."""

    layer_names: tuple[str, ...]
    block_size: int
    block_bytes: int


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """The KV cache of one worker: `num_blocks` blocks, shared by the groups.

    `num_kv_heads` and `head_dim` are the model's, over all tensor-parallel ranks.
    """

    num_blocks: int
    groups: tuple[CacheGroup, ...]
    num_layers: int
    num_kv_heads: int
    head_dim: int

    def num_blocks_of(self, group: CacheGroup, num_virtual_tokens: int) -> int:
        """Whole blocks of a soft prompt in one group."""
        return -(-num_virtual_tokens // group.block_size)

    def num_bytes_of(self, num_virtual_tokens: int) -> int:
        """Bytes of a soft prompt in one worker."""
        return sum(group.block_bytes * self.num_blocks_of(group, num_virtual_tokens) for group in self.groups)


def read_layout(model_config: Any, kv_cache_config: Any) -> CacheLayout:
    """Read the layout from vLLM's configurations, which `supported.py` has checked."""
    groups = tuple(
        CacheGroup(
            tuple(group.layer_names),
            group.kv_cache_spec.block_size,
            group.kv_cache_spec.page_size_bytes * len(group.layer_names),
        )
        for group in kv_cache_config.kv_cache_groups
    )
    return CacheLayout(
        kv_cache_config.num_blocks,
        groups,
        model_config.get_total_num_hidden_layers(),
        model_config.get_total_num_kv_heads(),
        model_config.get_head_size(),
    )
