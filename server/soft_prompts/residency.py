"""Prefixes in the KV cache, and the leases on them.

A prefix becomes resident when a sequence that needs it is about to run. It is pinned while a lease on it is open, and
stays idle afterwards until its blocks are needed: the least recently used idle prefix is evicted first. Leased and idle
prefixes together never hold more than the prefix budget. Only the engine thread calls this.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from server.model.prefix import Prefix


class BlockSource(Protocol):
    """Where blocks come from and go back to."""

    @property
    def num_free(self) -> int:
        """Blocks that `allocate` could hand out now."""

    def allocate(self) -> int:
        """Hand out one block with one reference."""

    def free(self, block: int) -> None:
        """Give one reference back."""


class ResidentPrefix:
    """A prefix with its blocks. `is_loaded` is False until a step has filled them.

    `task` is the one that used it last. `released_at` is the monotonic time of the last closed lease, in seconds.
    """

    __slots__ = ("blocks", "is_loaded", "num_leases", "prefix", "released_at", "task")

    def __init__(self, prefix: Prefix, blocks: tuple[int, ...]) -> None:
        self.prefix = prefix
        self.blocks = blocks
        self.num_leases = 0
        self.is_loaded = False
        self.task = ""
        self.released_at = time.monotonic()


class PrefixResidency:
    """The resident prefixes of one KV cache, by prefix digest, within a budget of `max_blocks`."""

    def __init__(self, source: BlockSource, block_size: int, max_blocks: int) -> None:
        self._source = source
        self._block_size = block_size
        self.max_blocks = max_blocks
        self._resident: OrderedDict[str, ResidentPrefix] = OrderedDict()  # least recently used first
        self._num_blocks = 0
        self._pending: list[ResidentPrefix] = []
        self.num_loads = 0
        self.num_evictions = 0

    @property
    def resident(self) -> Iterable[ResidentPrefix]:
        """The prefixes that hold blocks, leased and idle, least recently used first."""
        return self._resident.values()

    @property
    def num_resident(self) -> int:
        """Prefixes that hold blocks, leased and idle."""
        return len(self._resident)

    @property
    def num_leases(self) -> int:
        """Open leases over all prefixes."""
        return sum(entry.num_leases for entry in self._resident.values())

    @property
    def num_blocks(self) -> int:
        """Blocks that resident prefixes hold."""
        return self._num_blocks

    @property
    def num_idle_blocks(self) -> int:
        """Blocks that `evict_idle` could free."""
        return sum(len(entry.blocks) for entry in self._resident.values() if _is_idle(entry))

    def blocks_needed(self, prefix: Prefix) -> int:
        """Blocks that a prefix takes when resident."""
        return -(-prefix.num_virtual_tokens // self._block_size)

    def num_load_tokens(self, prefix: Prefix | None) -> int:
        """Positions that a step must fill before the prefix can be read; 0 where it holds blocks, or is None."""
        return 0 if prefix is None or prefix.digest in self._resident else prefix.num_virtual_tokens

    def can_admit(self, prefix: Prefix) -> bool:
        """Whether `acquire` has room in the budget, evicting idle prefixes where it must."""
        if prefix.digest in self._resident:
            return True
        held = self._num_blocks - self.num_idle_blocks
        return held + self.blocks_needed(prefix) <= self.max_blocks

    def acquire(self, prefix: Prefix) -> ResidentPrefix | None:
        """Open a lease, and make the prefix resident first if needed. None if budget or blocks do not allow it."""
        entry = self._resident.get(prefix.digest)
        if entry is None:
            entry = self._admit(prefix)
        if entry is not None:
            entry.num_leases += 1
            self._resident.move_to_end(prefix.digest)
        return entry

    def release(self, entry: ResidentPrefix) -> None:
        """Close a lease. The prefix stays resident, idle after its last lease."""
        assert entry.num_leases > 0, "a lease was closed twice"
        entry.num_leases -= 1
        entry.released_at = time.monotonic()

    def evict_idle(self) -> bool:
        """Evict the least recently used idle prefix. False if there is none."""
        for entry in self._resident.values():
            if _is_idle(entry):
                self._remove(entry)
                self.num_evictions += 1
                return True
        return False

    def take_pending(self) -> tuple[ResidentPrefix, ...]:
        """The prefixes whose blocks the next step must fill."""
        pending, self._pending = tuple(self._pending), []
        return pending

    def mark_loaded(self, entry: ResidentPrefix) -> None:
        """The blocks are filled: the prefix can be shared, and evicted once idle."""
        entry.is_loaded = True
        self.num_loads += 1

    def holds(self, entry: ResidentPrefix) -> bool:
        """Whether this very entry still holds its blocks."""
        return self._resident.get(entry.prefix.digest) is entry

    def discard(self, entry: ResidentPrefix) -> None:
        """Drop a prefix whose load failed, once its leases are closed."""
        self._remove(entry)

    def _admit(self, prefix: Prefix) -> ResidentPrefix | None:
        needed = self.blocks_needed(prefix)
        if not self.can_admit(prefix):
            return None
        while self._num_blocks + needed > self.max_blocks or self._source.num_free < needed:
            if not self.evict_idle():
                return None
        entry = ResidentPrefix(prefix, tuple(self._source.allocate() for _ in range(needed)))
        self._resident[prefix.digest] = entry
        self._num_blocks += needed
        self._pending.append(entry)
        return entry

    def _remove(self, entry: ResidentPrefix) -> None:
        assert entry.num_leases == 0, "a leased prefix cannot leave"
        del self._resident[entry.prefix.digest]
        self._num_blocks -= len(entry.blocks)
        for block in entry.blocks:
            self._source.free(block)


def _is_idle(entry: ResidentPrefix) -> bool:
    """A prefix still to be filled is not idle: a planned load writes into its blocks."""
    return entry.num_leases == 0 and entry.is_loaded
