"""Parts of versions in memory, so that a version's tensors are not read from the store for each request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from server.model.heads.head import Head
from server.model.prefix import Prefix


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What answers of a version with tensors: its prefix, and its head if it has one."""

    prefix: Prefix
    head: Head | None = None

    @property
    def num_bytes(self) -> int:
        """The memory of its tensors."""
        return self.prefix.tensor.nbytes + (0 if self.head is None else self.head.num_bytes)


class PartCache:
    """The parts used last, within a number of bytes. The latest one is kept even when it alone exceeds them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._parts: OrderedDict[str, Part] = OrderedDict()

    def get(self, digest: str) -> Part | None:
        """The part of a digest, which thereby counts as used."""
        if digest in self._parts:
            self._parts.move_to_end(digest)
        return self._parts.get(digest)

    def put(self, digest: str, part: Part) -> None:
        """Keep a part, dropping those unused for longest."""
        self.drop({digest})
        self._parts[digest] = part
        self._num_bytes += part.num_bytes
        while self._num_bytes > self._max_bytes and len(self._parts) > 1:
            self.drop({next(iter(self._parts))})

    def drop(self, digests: Collection[str]) -> None:
        """Remove these parts, if they are there."""
        for digest in digests:
            if dropped := self._parts.pop(digest, None):
                self._num_bytes -= dropped.num_bytes
