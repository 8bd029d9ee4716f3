"""Prefixes in host memory, so that a version's tensors are not read from the store for each request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from server.model.prefix import Prefix


class PrefixCache:
    """The prefixes used last, within a number of bytes. The latest one is kept even when it alone exceeds them."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._prefixes: OrderedDict[str, Prefix] = OrderedDict()

    def get(self, digest: str) -> Prefix | None:
        """The prefix of a digest, which thereby counts as used."""
        if digest in self._prefixes:
            self._prefixes.move_to_end(digest)
        return self._prefixes.get(digest)

    def put(self, prefix: Prefix) -> None:
        """Keep a prefix, dropping those unused for longest."""
        self.drop({prefix.digest})
        self._prefixes[prefix.digest] = prefix
        self._num_bytes += prefix.tensor.nbytes
        while self._num_bytes > self._max_bytes and len(self._prefixes) > 1:
            self.drop({next(iter(self._prefixes))})

    def drop(self, digests: Collection[str]) -> None:
        """Remove these prefixes, if they are there."""
        for digest in digests:
            if dropped := self._prefixes.pop(digest, None):
                self._num_bytes -= dropped.tensor.nbytes
