"""A soft prompt as the engine uses it: a digest, and the tensor that becomes its KV blocks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from prompts_store.checkpoint_records import ResolvedPrefix


class PrefixKind(StrEnum):
    """The way of a prefix into the KV cache: through the model, or written unchanged."""

    EMBEDDINGS = "embeddings"
    KEY_VALUES = "key_values"


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """One resolved soft prompt in host memory, shared by every request of its version.

    `digest` is the prefix digest (64 lowercase hexadecimal digits): two prefixes with one digest share blocks.
    `tensor` is float32 on the CPU. For embeddings `[num_virtual_tokens, hidden_size]`; for keys and values
    `[num_virtual_tokens, 2 * num_layers, num_kv_heads, head_dim]`, even index key (already rotated), odd index value
    (the layout of PEFT's `PrefixEncoder`).
    """

    digest: str
    kind: PrefixKind
    tensor: torch.Tensor

    @property
    def num_virtual_tokens(self) -> int:
        """Positions it takes before the text."""
        return int(self.tensor.shape[0])


def prefix_of(resolved: ResolvedPrefix) -> Prefix:
    """A resolved prefix of the store as the engine takes it."""
    return Prefix(resolved.digest, PrefixKind(resolved.kind.value), torch.tensor(resolved.values))
