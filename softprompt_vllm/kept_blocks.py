"""The soft prompts that one worker keeps: whole blocks on the host, and copies of those used last on the device.

The scheduler decides what is kept (residency.py). The copies are this worker's own matter: dropping one loses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import torch

Blocks = Mapping[str, torch.Tensor]
"""By layer name: `[num_pages, …]` as vLLM lays pages out, one soft prompt's from its first position on."""


class KeptBlocks:
    """Blocks by digest. On a CPU there are no copies, since host and device are one memory."""

    def __init__(self, max_device_bytes: int) -> None:
        self._max_device_bytes = max_device_bytes
        self._host: dict[str, Blocks] = {}
        self._device: OrderedDict[str, Blocks] = OrderedDict()  # least recently used first
        self._num_device_bytes = 0

    def __contains__(self, digest: str) -> bool:
        return digest in self._host

    @property
    def num_host_bytes(self) -> int:
        """Bytes on the host."""
        return sum(_num_bytes(blocks) for blocks in self._host.values())

    @property
    def num_device_bytes(self) -> int:
        """Bytes of the copies on the device."""
        return self._num_device_bytes

    def keep(self, digest: str, blocks: Blocks) -> None:
        """Keep blocks that lie on the device, in place of older ones of this digest."""
        self.drop([digest])
        if any(tensor.device.type == "cpu" for tensor in blocks.values()):
            self._host[digest] = blocks
            return
        self._host[digest] = {name: tensor.cpu() for name, tensor in blocks.items()}
        self._copy(digest, blocks)

    def get(self, digest: str, device: torch.device) -> Blocks:
        """Return the blocks of a kept digest, on the device if there is room for a copy."""
        copy = self._device.get(digest)
        if copy is not None:
            self._device.move_to_end(digest)
            return copy
        blocks = self._host[digest]
        if device.type == "cpu" or _num_bytes(blocks) > self._max_device_bytes:
            return blocks
        blocks = {name: tensor.to(device) for name, tensor in blocks.items()}
        self._copy(digest, blocks)
        return blocks

    def drop(self, digests: Iterable[str]) -> None:
        """Forget digests, kept or not."""
        for digest in digests:
            self._host.pop(digest, None)
            self._drop_copy(digest)

    def _copy(self, digest: str, blocks: Blocks) -> None:
        num_bytes = _num_bytes(blocks)
        if num_bytes > self._max_device_bytes:
            return
        while self._num_device_bytes + num_bytes > self._max_device_bytes:
            self._drop_copy(next(iter(self._device)))
        self._device[digest] = blocks
        self._num_device_bytes += num_bytes

    def _drop_copy(self, digest: str) -> None:
        if (blocks := self._device.pop(digest, None)) is not None:
            self._num_device_bytes -= _num_bytes(blocks)


def _num_bytes(blocks: Blocks) -> int:
    return sum(tensor.nbytes for tensor in blocks.values())
