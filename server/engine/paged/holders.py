"""The usage of our engine, read from its scheduler between steps."""

from __future__ import annotations

from collections import Counter

from server.engine.paged.scheduler import Scheduler
from server.engine.usage import EngineUsage, PrefixUsage, TaskUsage


def read_usage(scheduler: Scheduler) -> EngineUsage:
    """The usage now. Only the engine thread calls this."""
    blocks = scheduler.blocks
    return EngineUsage(
        tasks=_tasks(scheduler),
        prefixes=_prefixes(scheduler),
        num_blocks=blocks.num_blocks,
        num_cached_blocks=blocks.num_cached_free,
        num_empty_blocks=blocks.num_free - blocks.num_cached_free,
    )


def _tasks(scheduler: Scheduler) -> tuple[TaskUsage, ...]:
    running, held = Counter[str](), Counter[str]()
    counted: set[int] = set()
    for sequence in scheduler.running:
        running[sequence.task] += 1
        num_counted = len(counted)
        counted.update(sequence.own_blocks)
        counted.update(sequence.cross_blocks)
        held[sequence.task] += len(counted) - num_counted
    waiting = scheduler.waiting.lengths()
    usages = []
    for task in dict.fromkeys((*running, *waiting)):
        num_waiting, oldest_arrival = waiting.get(task, (0, None))
        usages.append(TaskUsage(task, running[task], num_waiting, oldest_arrival, held[task]))
    return tuple(usages)


def _prefixes(scheduler: Scheduler) -> tuple[PrefixUsage, ...]:
    return tuple(
        PrefixUsage(
            entry.prefix.digest,
            entry.task,
            entry.prefix.num_virtual_tokens,
            len(entry.blocks),
            entry.num_leases,
            None if entry.num_leases else entry.released_at,
        )
        for entry in scheduler.residency.resident
    )
