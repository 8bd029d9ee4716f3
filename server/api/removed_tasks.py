"""Lets go of what is counted for a task once it is deleted: its label is free for another task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from prompts_store.records import Change, ChangeKind

_REMOVALS = frozenset({ChangeKind.TASK_DELETED, ChangeKind.TASK_PURGED})


class CountsByTask(Protocol):
    """Something that counts by the task's name."""

    def forget(self, tasks: Collection[str]) -> None:
        """Drop the counts of these tasks."""


@dataclass(frozen=True, slots=True, eq=False)
class RemovedTasks:
    """A `Subscriber` of the store's changes. `fingerprint` is of the base model whose tasks are counted."""

    fingerprint: str
    counts: Sequence[CountsByTask]

    def note(self, changes: Sequence[Change]) -> None:
        """See `Subscriber`."""
        removed = {
            change.task for change in changes if change.kind in _REMOVALS and change.fingerprint == self.fingerprint
        }
        if removed:
            for each in self.counts:
                each.forget(removed)

    async def catch_up(self) -> None:
        """See `Subscriber`: nothing is read again."""
