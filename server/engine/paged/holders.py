"""The usage of our engine, read from its scheduler between steps."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from server.engine.paged.scheduler import Scheduler
from server.engine.usage import EngineUsage, PrefixUsage, TaskUsage


def read_usage(*schedulers: Scheduler) -> EngineUsage:
    """The usage now, of all schedulers over the same blocks together. Only the engine thread calls this."""
    scheduler, *_ = schedulers
    blocks = scheduler.blocks
    return EngineUsage(
        tasks=_tasks(*schedulers),
        prefixes=_prefixes(scheduler),
        num_blocks=blocks.num_blocks,
        num_cached_blocks=blocks.num_cached_free,
        num_empty_blocks=blocks.num_free - blocks.num_cached_free,
    )


def _tasks(*schedulers: Scheduler) -> tuple[TaskUsage, ...]:
    running, held = Counter[str](), Counter[str]()
    counted: set[int] = set()
    for sequence in chain.from_iterable(scheduler.running for scheduler in schedulers):
        running[sequence.task] += 1
        num_counted = len(counted)
        counted.update(sequence.own_blocks)
        counted.update(sequence.cross_blocks)
        held[sequence.task] += len(counted) - num_counted
    waiting = Counter[str]()
    oldest: dict[str, float] = {}
    for task, (number, arrival) in chain.from_iterable(each.waiting.lengths().items() for each in schedulers):
        waiting[task] += number
        oldest[task] = min(arrival, oldest.get(task, arrival))
    return tuple(
        TaskUsage(task, running[task], waiting[task], oldest.get(task), held[task])
        for task in dict.fromkeys((*running, *waiting))
    )


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
