"""The messages between the two halves: what the workers do in a step, and what they report of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BlockIds = tuple[list[int], ...]
"""The blocks of one request, one list per KV cache group. Block 0 is vLLM's null block: nothing is stored there."""


@dataclass(frozen=True, slots=True)
class Load:
    """Copy positions `start` to `stop` (the end of the soft prompt) into a request's blocks.

    `waiting` is the id of a request that waits for this load, because the workers must read a file first. It is None
    for one that runs in this step. `ticket` names the reading in reports. It is None if what is read is not kept.
    """

    digest: str
    start: int
    stop: int
    block_ids: BlockIds
    waiting: str | None = None
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """Positions `start` to `stop` of a soft prompt of `num_virtual_tokens`, computed in this step in these blocks."""

    digest: str
    num_virtual_tokens: int
    start: int
    stop: int
    block_ids: BlockIds
    ticket: int


@dataclass(slots=True)
class StepPlan:
    """What every worker does in one step, in this order: drops, refusals and loads, the forward pass, captures.

    `refused` has ids of requests that wait for nothing: they end with an error.
    """

    drops: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)


@dataclass(slots=True)
class WorkerReport:
    """What the workers finished: how many of them per ticket, and the tickets that failed in any."""

    done: Counter[int] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)

    def aggregate(self, other: WorkerReport) -> WorkerReport:
        """Add another worker's report. vLLM calls this."""
        return WorkerReport(self.done + other.done, self.failed | other.failed)
