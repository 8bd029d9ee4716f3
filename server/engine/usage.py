"""The holders of an engine's batch, queue and KV blocks at one moment. Times are monotonic, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskUsage:
    """The sequences of one task ("" is the base model).

    `num_blocks` are blocks of its running sequences, without those of prefixes. A block that several sequences share
    counts once. `oldest_arrival` is that of the request that has waited longest, None if none waits.
    """

    task: str
    num_running: int = 0
    num_waiting: int = 0
    oldest_arrival: float | None = None
    num_blocks: int = 0


@dataclass(frozen=True, slots=True)
class PrefixUsage:
    """One resident prefix. `task` used it last. `idle_since` is None while a lease is open."""

    digest: str
    task: str
    num_virtual_tokens: int
    num_blocks: int
    num_leases: int
    idle_since: float | None


@dataclass(frozen=True, slots=True)
class EngineUsage:
    """All holders at one moment. The blocks of `tasks` and `prefixes`, other, cached and empty ones add up to
    `num_blocks`.

    Cached blocks hold text that a later request can share, and are free for others. Empty blocks hold nothing. Other
    blocks are held by running sequences, of an engine that does not say of which.
    """

    tasks: tuple[TaskUsage, ...]
    prefixes: tuple[PrefixUsage, ...]
    num_blocks: int
    num_cached_blocks: int
    num_empty_blocks: int
    num_other_blocks: int = 0
