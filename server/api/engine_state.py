"""The body of `GET /v1/engine`: the engine's snapshots as one caller may see them, at most four times per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from server.api.responses.json_response import json_text
from server.api.services import Services
from server.api.wire import engine as wire
from server.engine.client import EngineStats
from server.engine.usage import EngineUsage, PrefixUsage, TaskUsage
from server.telemetry.histogram_totals import HistogramTotals, totals_of
from server.telemetry.state_metrics import BatchStats, TuningStats

_T = TypeVar("_T")

_SHARED_FOR_S = 0.25
_MAX_TASKS = 20
_MAX_SOFT_PROMPTS = 50

AllowedTasks = frozenset[str] | None
"""The tasks that a key allows; None allows all, and the base model."""


class EngineStates:
    """Encoded bodies, one per set of allowed tasks, shared for 250 ms. Belongs to the event loop."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._bodies: dict[AllowedTasks, bytes] = {}
        self._expire_at = 0.0

    def body_for(self, allowed: AllowedTasks) -> bytes:
        """The JSON for a caller with these tasks."""
        now = self._clock()
        if now >= self._expire_at:
            self._bodies.clear()
            self._expire_at = now + _SHARED_FOR_S
        if allowed not in self._bodies:
            self._bodies[allowed] = json_text(engine_state(self._services, allowed, now)).encode()
        return self._bodies[allowed]


async def _engine_states(request: Request) -> EngineStates:
    states = request.app.state.engine_states
    assert isinstance(states, EngineStates)
    return states


EngineStatesDep = Annotated[EngineStates, Depends(_engine_states)]


def engine_state(services: Services, allowed: AllowedTasks, now: float) -> wire.EngineState:
    """The engine's state for a caller with these tasks. `now` is monotonic, in seconds."""
    engine = services.inference.engine
    stats, usage = engine.stats, engine.usage
    view = _View(allowed, services.base_id, services.inference.catalog.versions_of, now)
    tasks, other_tasks = view.split_tasks(usage.tasks)
    prefixes, other_prefixes = view.split_prefixes(usage.prefixes)
    requests = services.metrics.requests
    return wire.EngineState(
        object="engine",
        engine=services.engine_name,
        no_tuning=services.no_tuning,
        alive=engine.is_alive,
        started_at=services.started_at,
        time_s=round(now - services.began, 6),
        model=wire.EngineModel(id=services.base_id, device=services.device, max_model_len=engine.max_context),
        counters=_counters(stats),
        running=sum(task.num_running for task in usage.tasks),
        waiting=sum(task.num_waiting for task in usage.tasks),
        last_step=wire.LastStep(sequences=stats.num_last_sequences, tokens=stats.num_last_tokens),
        tasks=[view.task_load(task) for task in tasks],
        other_tasks=view.sum_of_tasks(other_tasks),
        latency=wire.EngineLatency(
            time_to_first_token=_histogram(totals_of(requests.first_token)),
            inter_token=_histogram(totals_of(requests.between_tokens)),
        ),
        kv_blocks=wire.KvBlocks(
            total=usage.num_blocks,
            free=usage.num_cached_blocks + usage.num_empty_blocks,
            holders=[
                *view.prefix_holders(prefixes, other_prefixes),
                *view.sequence_holders(tasks, other_tasks, usage.num_other_blocks),
                *_free_holders(usage),
            ],
        ),
        soft_prompts=[view.soft_prompt(prefix) for prefix in prefixes],
        other_soft_prompts=wire.OtherSoftPrompts(
            soft_prompts=len(other_prefixes),
            blocks=sum(prefix.num_blocks for prefix in other_prefixes),
            leases=sum(prefix.num_leases for prefix in other_prefixes),
        ),
        tuning=None if services.jobs is None else _tuning(services.jobs.stats),
        batches=None if services.batches is None else _batches(services.batches.stats),
    )


@dataclass(frozen=True, slots=True)
class _View:
    """The names that a caller may see. `versions_of` returns the known versions of a digest, as task and number."""

    allowed: AllowedTasks
    base_id: str
    versions_of: Callable[[str], list[tuple[str, int]]]
    now: float

    def split_tasks(self, tasks: Iterable[TaskUsage]) -> tuple[list[TaskUsage], list[TaskUsage]]:
        """The tasks to list, the busiest first, and the others."""
        by_load = sorted(tasks, key=lambda task: (-task.num_running - task.num_waiting, task.task))
        return _split(by_load, lambda task: self._allows(task.task), _MAX_TASKS)

    def split_prefixes(self, prefixes: Collection[PrefixUsage]) -> tuple[list[PrefixUsage], list[PrefixUsage]]:
        """The prefixes to list, those in use first and then the last used, and the others."""
        by_use = sorted(prefixes, key=lambda prefix: self._age(prefix.idle_since) or 0.0)
        return _split(by_use, lambda prefix: self._owner(prefix) is not None, _MAX_SOFT_PROMPTS)

    def task_load(self, task: TaskUsage) -> wire.TaskLoad:
        return wire.TaskLoad(
            task=self._name(task.task),
            running=task.num_running,
            waiting=task.num_waiting,
            oldest_wait_s=self._age(task.oldest_arrival),
        )

    def sum_of_tasks(self, tasks: Collection[TaskUsage]) -> wire.OtherTasks:
        arrivals = [task.oldest_arrival for task in tasks if task.oldest_arrival is not None]
        return wire.OtherTasks(
            tasks=len(tasks),
            running=sum(task.num_running for task in tasks),
            waiting=sum(task.num_waiting for task in tasks),
            oldest_wait_s=self._age(min(arrivals, default=None)),
        )

    def soft_prompt(self, prefix: PrefixUsage) -> wire.ResidentSoftPrompt:
        return wire.ResidentSoftPrompt(
            task=self._name(self._owner(prefix) or ""),
            references=[f"{task}@{version}" for task, version in self._versions(prefix)],
            digest=prefix.digest,
            virtual_tokens=prefix.num_virtual_tokens,
            blocks=prefix.num_blocks,
            leases=prefix.num_leases,
            pinned=prefix.num_leases > 0,
            idle_s=self._age(prefix.idle_since),
        )

    def prefix_holders(
        self, listed: Iterable[PrefixUsage], others: Collection[PrefixUsage]
    ) -> Iterable[wire.BlockHolder]:
        for prefix in listed:
            yield _holder("prefix", prefix.num_blocks, self._name(self._owner(prefix) or ""), prefix.digest)
        if others:
            yield _holder("prefix", sum(prefix.num_blocks for prefix in others))

    def sequence_holders(
        self, listed: Iterable[TaskUsage], others: Collection[TaskUsage], num_other_blocks: int
    ) -> Iterable[wire.BlockHolder]:
        for task in listed:
            yield _holder("sequence", task.num_blocks, self._name(task.task))
        if others or num_other_blocks:
            yield _holder("sequence", sum(task.num_blocks for task in others) + num_other_blocks)

    def _allows(self, task: str) -> bool:
        return self.allowed is None or task in self.allowed

    def _versions(self, prefix: PrefixUsage) -> list[tuple[str, int]]:
        return [version for version in self.versions_of(prefix.digest) if self._allows(version[0])]

    def _owner(self, prefix: PrefixUsage) -> str | None:
        """The task that used a prefix last, or another one with the same prefix; None if the key allows neither."""
        if self._allows(prefix.task):
            return prefix.task
        return next((task for task, _ in self._versions(prefix)), None)

    def _name(self, task: str) -> str:
        return task or self.base_id

    def _age(self, since: float | None) -> float | None:
        return None if since is None else round(max(0.0, self.now - since), 3)


def _split(items: Iterable[_T], is_visible: Callable[[_T], bool], most: int) -> tuple[list[_T], list[_T]]:
    """The first visible items, and the rest."""
    listed: list[_T] = []
    others: list[_T] = []
    for item in items:
        (listed if len(listed) < most and is_visible(item) else others).append(item)
    return listed, others


def _holder(kind: wire.HolderKind, blocks: int, task: str | None = None, digest: str | None = None) -> wire.BlockHolder:
    return wire.BlockHolder(kind=kind, task=task, digest=digest, blocks=blocks)


def _free_holders(usage: EngineUsage) -> tuple[wire.BlockHolder, ...]:
    return _holder("cached", usage.num_cached_blocks), _holder("free", usage.num_empty_blocks)


def _counters(stats: EngineStats) -> wire.EngineCounters:
    return wire.EngineCounters(
        prompt_tokens_computed=stats.num_prompt_tokens,
        prompt_tokens_cached=stats.num_cached_tokens,
        generated_tokens=stats.num_generated_tokens,
        requests_finished=stats.num_finished,
        requests_aborted=stats.num_aborted,
        requests_failed=stats.num_failed,
        steps=stats.num_steps,
        preemptions=stats.num_preemptions,
        prefix_loads=stats.num_prefix_loads,
        prefix_evictions=stats.num_prefix_evictions,
    )


def _histogram(totals: HistogramTotals) -> wire.Histogram:
    buckets = [wire.HistogramBucket(le_s=bound, count=number) for bound, number in totals.buckets]
    return wire.Histogram(count=totals.count, sum_s=round(totals.sum_s, 6), buckets=buckets)


def _tuning(stats: TuningStats) -> wire.TuningLoad | None:
    if not stats.num_validating + stats.num_running:
        return None
    return wire.TuningLoad(
        validating=stats.num_validating, running=stats.num_running, step=stats.step, planned_steps=stats.num_steps
    )


def _batches(stats: BatchStats) -> wire.BatchLoad | None:
    if not stats.num_running:
        return None
    return wire.BatchLoad(running=stats.num_running, lines_in_flight=stats.num_lines_in_flight)
