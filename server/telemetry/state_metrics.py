"""Metrics that each scrape reads from the server's state. The owners of the counters keep them, not this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from server.engine.client import FORM_HOLD_BUCKETS_S, EngineStats, FormHolds
from server.telemetry.task_labels import TaskLabels


@dataclass(frozen=True, slots=True)
class ShadowCounts:
    """Counts of the comparisons of a task's aliases with their shadows."""

    num_agreed: int = 0
    num_disagreed: int = 0
    num_dropped: int = 0
    num_failed: int = 0


@dataclass(frozen=True, slots=True)
class TuningStats:
    """Jobs that the server works on, by state; where the running one is; and what was done since the server started.

    `busy_s` is the time, in seconds, for which tuning held the engine's thread.
    """

    num_validating: int = 0
    num_running: int = 0
    step: int = 0
    num_steps: int = 0
    num_steps_done: int = 0
    busy_s: float = 0.0
    num_succeeded: int = 0
    num_failed: int = 0
    num_cancelled: int = 0


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Batches and lines that the server works on, and what was done since it started, by outcome."""

    num_running: int = 0
    num_lines_in_flight: int = 0
    num_lines_answered: int = 0
    num_lines_failed: int = 0
    num_ended: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerState:
    """The server's state at one moment. `store_age_s` is None until the store has been read once."""

    version: str
    base_id: str
    engine: EngineStats
    engine_is_alive: bool
    is_ready: bool
    is_draining: bool
    num_open_requests: int
    store_is_reachable: bool
    store_age_s: float | None
    shadows: Mapping[str, ShadowCounts] = field(default_factory=dict)
    tuning: TuningStats = field(default_factory=TuningStats)
    batches: BatchStats = field(default_factory=BatchStats)


class StateCollector(Collector):
    """One state as metric families."""

    def __init__(self, state: ServerState, tasks: TaskLabels) -> None:
        self._state = state
        self._tasks = tasks

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield from _server(self._state)
        yield from _engine(self._state.engine)
        yield from _tuning(self._state.tuning)
        yield from _batches(self._state.batches)
        yield self._shadows()

    def _shadows(self) -> Metric:
        family = CounterMetricFamily(
            "softprompt_shadow_comparisons",
            "Answers compared with a shadow's: agreed, disagreed, dropped or failed.",
            labels=["task", "outcome"],
        )
        for (task, outcome), number in self._shadow_sums().items():
            family.add_metric([task, outcome], number)
        return family

    def _shadow_sums(self) -> Mapping[tuple[str, str], int]:
        """Sum the counts by label: tasks beyond the bound share one."""
        sums: dict[tuple[str, str], int] = {}
        for task, counts in self._state.shadows.items():
            for outcome in ("agreed", "disagreed", "dropped", "failed"):
                key = (self._tasks.known(task), outcome)
                sums[key] = sums.get(key, 0) + getattr(counts, f"num_{outcome}")
        return sums


def _server(state: ServerState) -> Iterator[Metric]:
    build = GaugeMetricFamily("softprompt_build_info", "Always 1.", labels=["version", "base_model"])
    build.add_metric([state.version, state.base_id], 1)
    yield build
    for name, text, read in _SERVER_GAUGES:
        if (value := read(state)) is not None:
            yield GaugeMetricFamily(name, text, value=float(value))


def _engine(stats: EngineStats) -> Iterator[Metric]:
    for name, text, read in _ENGINE_GAUGES:
        yield GaugeMetricFamily(name, text, value=float(read(stats)))
    for name, text, read in _ENGINE_COUNTERS:
        yield CounterMetricFamily(name, text, value=float(read(stats)))
    yield _form_holds(stats.form_holds)


def _form_holds(holds: FormHolds) -> Metric:
    bounds = (*map(str, FORM_HOLD_BUCKETS_S), "+Inf")
    return HistogramMetricFamily(
        "softprompt_form_hold_seconds",
        "How long the forms of structured answers held one step: waiting for masks, and masking.",
        buckets=list(zip(bounds, accumulate(holds.num_steps), strict=True)),
        sum_value=holds.total_s,
    )


def _tuning(stats: TuningStats) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("softprompt_tuning_jobs", "Tuning jobs that this server works on.", labels=["state"])
    jobs.add_metric(["validating_files"], stats.num_validating)
    jobs.add_metric(["running"], stats.num_running)
    ended = CounterMetricFamily(
        "softprompt_tuning_jobs_ended", "Tuning jobs that ended while this server worked on them.", labels=["outcome"]
    )
    for outcome in ("succeeded", "failed", "cancelled"):
        ended.add_metric([outcome], getattr(stats, f"num_{outcome}"))
    yield from (jobs, ended)
    yield GaugeMetricFamily("softprompt_tuning_step", "Optimiser steps of the running job so far.", value=stats.step)
    yield GaugeMetricFamily("softprompt_tuning_planned_steps", "Those it is to take at most.", value=stats.num_steps)
    yield CounterMetricFamily("softprompt_tuning_steps", "Optimiser steps of all jobs.", value=stats.num_steps_done)
    yield CounterMetricFamily(
        "softprompt_tuning_seconds", "Time for which tuning held the engine's thread.", value=stats.busy_s
    )


def _batches(stats: BatchStats) -> Iterator[Metric]:
    yield GaugeMetricFamily("softprompt_batches_running", "Batches that this server works on.", value=stats.num_running)
    yield GaugeMetricFamily(
        "softprompt_batch_lines_running", "Lines of batches that are being answered.", value=stats.num_lines_in_flight
    )
    lines = CounterMetricFamily("softprompt_batch_lines", "Lines of batches whose result is kept.", labels=["outcome"])
    lines.add_metric(["answered"], stats.num_lines_answered)
    lines.add_metric(["failed"], stats.num_lines_failed)
    ended = CounterMetricFamily(
        "softprompt_batches_ended", "Batches that ended while this server worked on them.", labels=["outcome"]
    )
    for outcome in ("completed", "failed", "expired", "cancelled"):
        ended.add_metric([outcome], stats.num_ended.get(outcome, 0))
    yield from (lines, ended)


_SERVER_GAUGES: tuple[tuple[str, str, Callable[[ServerState], float | None]], ...] = (
    ("softprompt_ready", "1 while requests should be sent here.", lambda state: state.is_ready),
    ("softprompt_draining", "1 from the signal to stop on.", lambda state: state.is_draining),
    ("softprompt_open_requests", "HTTP requests accepted and not yet answered.", lambda state: state.num_open_requests),
    ("softprompt_engine_up", "1 while the engine's thread makes progress.", lambda state: state.engine_is_alive),
    ("softprompt_store_up", "1 while the store answers.", lambda state: state.store_is_reachable),
    ("softprompt_store_age_seconds", "Time since the store was last seen.", lambda state: state.store_age_s),
)

_ENGINE_GAUGES: tuple[tuple[str, str, Callable[[EngineStats], int]], ...] = (
    ("softprompt_sequences_waiting", "Sequences in the queue.", lambda stats: stats.num_waiting),
    ("softprompt_sequences_running", "Sequences in the batch.", lambda stats: stats.num_running),
    (
        "softprompt_batch_sequences_waiting",
        "Sequences of batch lines that wait.",
        lambda stats: stats.num_batch_waiting,
    ),
    (
        "softprompt_batch_sequences_running",
        "Sequences of batch lines that run.",
        lambda stats: stats.num_batch_running,
    ),
    ("softprompt_kv_blocks", "Blocks of the KV cache.", lambda stats: stats.num_blocks),
    ("softprompt_kv_blocks_used", "Blocks that are held.", lambda stats: stats.num_blocks - stats.num_free_blocks),
    ("softprompt_prefix_blocks", "Blocks that resident soft prompts hold.", lambda stats: stats.num_prefix_blocks),
    ("softprompt_prefixes_resident", "Soft prompts in the KV cache.", lambda stats: stats.num_resident_prefixes),
    ("softprompt_prefix_leases", "Holds of running sequences on soft prompts.", lambda stats: stats.num_leases),
)

_ENGINE_COUNTERS: tuple[tuple[str, str, Callable[[EngineStats], int]], ...] = (
    ("softprompt_steps", "Steps of the engine.", lambda stats: stats.num_steps),
    ("softprompt_batch_steps", "Steps that computed lines of batches.", lambda stats: stats.num_batch_steps),
    ("softprompt_step_tokens", "Tokens computed by steps, recomputed ones too.", lambda stats: stats.num_step_tokens),
    ("softprompt_step_failures", "Steps that raised; their requests failed.", lambda stats: stats.num_step_failures),
    ("softprompt_out_of_memory", "Times a batch did not fit on the device.", lambda stats: stats.num_out_of_memory),
    ("softprompt_late_masks", "Masks that came too late for a step.", lambda stats: stats.form_holds.num_late),
    ("softprompt_preemptions", "Sequences put back into the queue.", lambda stats: stats.num_preemptions),
    ("softprompt_prefix_loads", "Soft prompts computed into the KV cache.", lambda stats: stats.num_prefix_loads),
    ("softprompt_prefix_evictions", "Idle soft prompts that made room.", lambda stats: stats.num_prefix_evictions),
)
