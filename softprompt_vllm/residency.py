"""The memory of the soft prompts that the workers keep, as the scheduler counts it.

The scheduler alone decides what is kept and dropped, so that all workers keep the same. The least recently used soft
prompt that no open request names is dropped first. One that is being filled is never dropped to make room.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class Entry:
    """A soft prompt that the workers keep, or begin to.

    `ticket` names its filling in plans and reports. `num_done` counts the workers that have finished it.
    `is_capture` says that no file can bring it back.
    """

    digest: str
    num_virtual_tokens: int
    num_bytes: int
    ticket: int
    is_capture: bool
    num_done: int = 0
    is_ready: bool = False


class Residency:
    """The kept soft prompts by digest, within `max_bytes` per worker, and how many open requests name each digest."""

    def __init__(self, max_bytes: int, num_workers: int) -> None:
        self.max_bytes = max_bytes
        self._num_workers = num_workers
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # least recently used first
        self._num_open: Counter[str] = Counter()
        self._num_bytes = 0
        self._drops: list[str] = []
        self._tickets = itertools.count(1)

    @property
    def num_bytes(self) -> int:
        """Bytes that the kept soft prompts take in each worker."""
        return self._num_bytes

    @property
    def num_entries(self) -> int:
        """Soft prompts that are kept, or being filled."""
        return len(self._entries)

    @property
    def num_open(self) -> int:
        """Open requests that name a soft prompt."""
        return self._num_open.total()

    def get(self, digest: str) -> Entry | None:
        """Return the entry of a digest, None if there is none."""
        return self._entries.get(digest)

    def open(self, digest: str) -> None:
        """Count one more open request that names this digest."""
        self._num_open[digest] += 1

    def close(self, digest: str) -> None:
        """Count one open request less."""
        self._num_open[digest] -= 1
        if self._num_open[digest] <= 0:
            del self._num_open[digest]

    def use(self, digest: str) -> None:
        """Mark an entry as the most recently used."""
        self._entries.move_to_end(digest)

    def begin(self, digest: str, num_virtual_tokens: int, num_bytes: int, *, is_capture: bool) -> Entry | None:
        """Make room for a soft prompt and return its new entry, None if there is no room now."""
        if not self._make_room(num_bytes):
            return None
        entry = Entry(digest, num_virtual_tokens, num_bytes, next(self._tickets), is_capture)
        self._entries[digest] = entry
        self._num_bytes += num_bytes
        return entry

    def drop(self, digest: str) -> None:
        """Drop an entry. The next plan tells the workers."""
        self._num_bytes -= self._entries.pop(digest).num_bytes
        self._drops.append(digest)

    def take_drops(self) -> list[str]:
        """Return the digests that the workers must drop before they do anything else."""
        drops, self._drops = self._drops, []
        return drops

    def report(self, done: Counter[int], failed: set[int]) -> None:
        """Take in a report of the workers: entries become ready, or go."""
        if not done and not failed:
            return
        for entry in list(self._entries.values()):
            entry.num_done += done[entry.ticket]
            if entry.ticket in failed:
                self.drop(entry.digest)
            elif entry.num_done >= self._num_workers:
                entry.is_ready = True

    def reset(self) -> bool:
        """Drop every soft prompt that no open request names. Return whether none is left."""
        for entry in [entry for entry in self._entries.values() if self._is_idle(entry)]:
            self.drop(entry.digest)
        return not self._entries

    def _make_room(self, num_bytes: int) -> bool:
        idle = [entry for entry in self._entries.values() if self._is_idle(entry)]
        if self._num_bytes - sum(entry.num_bytes for entry in idle) + num_bytes > self.max_bytes:
            return False
        for entry in idle:
            if self._num_bytes + num_bytes <= self.max_bytes:
                break
            self.drop(entry.digest)
        return True

    def _is_idle(self, entry: Entry) -> bool:
        return entry.is_ready and entry.digest not in self._num_open
