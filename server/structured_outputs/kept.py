"""Compiled forms that were used last, by digest, within bounds."""

from __future__ import annotations

from collections import OrderedDict

from server.structured_outputs.compiled import CompiledConstraint
from server.structured_outputs.limits import StructureLimits


class KeptForms:
    """At most `max_entries` compiled forms, of together `max_kept_bytes` bytes of source."""

    def __init__(self, limits: StructureLimits) -> None:
        self._limits = limits
        self._kept: OrderedDict[bytes, CompiledConstraint] = OrderedDict()
        self._num_bytes = 0

    def get(self, digest: bytes) -> CompiledConstraint | None:
        """The form of a digest, unless its automaton has outgrown its bounds."""
        kept = self._kept.get(digest)
        if kept is None or kept.has_failed:
            return None
        self._kept.move_to_end(digest)
        return kept

    def keep(self, digest: bytes, compiled: CompiledConstraint) -> None:
        """Keep a form, and drop those that were unused for longest where there is no room."""
        replaced = self._kept.pop(digest, None)
        self._num_bytes += _num_bytes(compiled) - (0 if replaced is None else _num_bytes(replaced))
        self._kept[digest] = compiled
        while len(self._kept) > self._limits.max_entries or self._num_bytes > self._limits.max_kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._num_bytes -= _num_bytes(oldest)


def _num_bytes(compiled: CompiledConstraint) -> int:
    return len(compiled.constraint.source)
