"""The soft prompts on the device, so that a version's tensors are not copied for each batch."""

from __future__ import annotations

from collections import OrderedDict

import torch

from server.model.prefix import Prefix, PrefixKind

MAX_PREFIX_BYTES = 256 << 20


class DevicePrefixes:
    """The prefixes used last, within a number of bytes; the latest one is kept even when it alone exceeds them.

    Embeddings are kept as they are; keys and values `[2 * num_layers, num_kv_heads, num_virtual_tokens, head_dim]`.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, max_bytes: int = MAX_PREFIX_BYTES) -> None:
        self._device = device
        self._dtype = dtype
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._tensors: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.num_loads = 0
        self.num_evictions = 0

    def __len__(self) -> int:
        return len(self._tensors)

    def get(self, prefix: Prefix) -> torch.Tensor:
        """The prefix on the device, which thereby counts as used."""
        tensor = self._tensors.get(prefix.digest)
        if tensor is None:
            tensor = self._load(prefix)
        self._tensors.move_to_end(prefix.digest)
        return tensor

    def _load(self, prefix: Prefix) -> torch.Tensor:
        tensor = prefix.tensor.to(self._device, self._dtype)
        if prefix.kind is PrefixKind.KEY_VALUES:
            tensor = tensor.permute(1, 2, 0, 3).contiguous()
        self._tensors[prefix.digest] = tensor
        self._num_bytes += tensor.nbytes
        self.num_loads += 1
        while self._num_bytes > self._max_bytes and len(self._tensors) > 1:
            _, dropped = self._tensors.popitem(last=False)
            self._num_bytes -= dropped.nbytes
            self.num_evictions += 1
        return tensor
