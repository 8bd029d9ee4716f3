"""`GET /v1/engine`."""

from __future__ import annotations

from typing import Literal

from server.api.wire.bodies import ResponseBody

HolderKind = Literal["prefix", "sequence", "cached", "free"]
EngineName = Literal["own", "vllm"]


class EngineModel(ResponseBody):
    """The base model."""

    id: str
    device: str
    max_model_len: int
    """Maximum number of tokens of a soft prompt, a prompt and its answer together."""


class EngineCounters(ResponseBody):
    """Totals since the start, which only grow. Requests of tuning jobs count too."""

    prompt_tokens_computed: int
    """Tokens of prompts and of labels that were computed, recomputed ones included."""
    prompt_tokens_cached: int
    """Tokens of prompts that were found in the prefix cache."""
    generated_tokens: int
    requests_finished: int
    requests_aborted: int
    requests_failed: int
    steps: int
    preemptions: int
    """Sequences that lost their blocks to others and were computed again."""
    prefix_loads: int
    """Soft prompts that were computed into the KV cache."""
    prefix_evictions: int
    """Idle soft prompts that made room."""


class LastStep(ResponseBody):
    """The size of the latest batch."""

    sequences: int
    tokens: int


class TaskLoad(ResponseBody):
    """The sequences of one task."""

    task: str
    """The name of a task, or the base model's id."""
    running: int
    waiting: int
    oldest_wait_s: float | None
    """Time since the arrival of the request that has waited longest. null: none waits."""


class OtherTasks(ResponseBody):
    """The sum of the busy tasks that are not listed: less busy ones, and those that the key does not allow."""

    tasks: int
    running: int
    waiting: int
    oldest_wait_s: float | None


class HistogramBucket(ResponseBody):
    """The number of times up to a bound, all smaller ones included."""

    le_s: float
    """The bound, in seconds."""
    count: int


class Histogram(ResponseBody):
    """Times since the start. The difference of two snapshots is the histogram of the time between them."""

    count: int
    sum_s: float
    buckets: list[HistogramBucket]
    """In order of their bounds. Times above the last bound are in `count` only."""


class EngineLatency(ResponseBody):
    """Times of the clients' requests, all tasks together."""

    time_to_first_token: Histogram
    """From acceptance to the first token of a request."""
    inter_token: Histogram
    """Between two tokens of a choice."""


class BlockHolder(ResponseBody):
    """A holder of KV blocks."""

    kind: HolderKind
    """`prefix`: a resident soft prompt. `sequence`: running sequences. `cached`: text that a later request can share.
    `free`: nothing. Cached and free blocks can be allocated."""
    task: str | None
    """As in `tasks`. null: cached and free blocks, and the sum of the holders that are not listed."""
    digest: str | None
    """The digest of the soft prompt's tensors, of a listed `prefix`."""
    blocks: int


class KvBlocks(ResponseBody):
    """The blocks of the KV cache. The blocks of all holders add up to `total`.

    vLLM does not say whose its blocks are: all in use have one holder, and soft prompts are kept beside them.
    """

    total: int
    free: int
    """Blocks that can be allocated: those of the kinds `cached` and `free`."""
    holders: list[BlockHolder]


class ResidentSoftPrompt(ResponseBody):
    """A soft prompt in the KV cache."""

    task: str
    """The task that used it last."""
    references: list[str]
    """The known task references of this soft prompt, such as `sentiment@3`. Empty after its version has left every
    alias in use."""
    digest: str
    """The digest of its tensors."""
    virtual_tokens: int
    blocks: int
    leases: int
    """Running sequences that use it."""
    pinned: bool
    """Whether it has leases. It cannot be evicted then."""
    idle_s: float | None
    """Time since its last use. null: it is in use."""


class OtherSoftPrompts(ResponseBody):
    """The sum of the resident soft prompts that are not listed."""

    soft_prompts: int
    blocks: int
    leases: int


class TuningLoad(ResponseBody):
    """The tuning jobs that this server works on. They hold no KV blocks; the requests that score them do."""

    validating: int
    running: int
    step: int
    """Optimiser steps of the running job so far."""
    planned_steps: int
    """Optimiser steps that it takes at most."""


class BatchLoad(ResponseBody):
    """The batches that this server works on. Their sequences are among those of their tasks."""

    running: int
    lines_in_flight: int


class EngineState(ResponseBody):
    """The engine's state at one moment.

    Counters and the last step are the latest. All else shows one moment, up to 250 ms and a step earlier.
    """

    object: Literal["engine"]
    engine: EngineName
    """`own`: this server's own engine. `vllm`: vLLM's."""
    no_tuning: str | None
    """Why tuning jobs are refused here. null: they are not."""
    alive: bool
    """Whether the engine makes progress, as `/health` reports it."""
    started_at: int
    """Unix time in seconds. Another value means that all counters began again."""
    time_s: float
    """Time since the start, in seconds, by a monotonic clock. Rates are differences of counters divided by its own."""
    model: EngineModel
    counters: EngineCounters
    running: int
    """Sequences in the batch."""
    waiting: int
    """Sequences in the queue."""
    last_step: LastStep
    tasks: list[TaskLoad]
    """The busiest 20 tasks, as far as the key allows them."""
    other_tasks: OtherTasks
    latency: EngineLatency
    kv_blocks: KvBlocks
    soft_prompts: list[ResidentSoftPrompt]
    """At most 50 resident soft prompts, the last used ones first, as far as the key allows them."""
    other_soft_prompts: OtherSoftPrompts
    tuning: TuningLoad | None
    """null: no job is validated or runs."""
    batches: BatchLoad | None
    """null: no batch runs."""
