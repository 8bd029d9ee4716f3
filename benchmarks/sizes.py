"""How much is measured: the full benchmark, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of requests and tokens. `num_output` is tokens an answer, `num_sequential` requests of a slow contender.

    PEFT answers one request at a time, so a sample says as much as the whole; over the rounds other requests follow.
    """

    rounds: int
    num_requests: int = 64
    num_output: int = 48
    concurrency: int = 32
    num_sequential: int = 8
    num_batched_tasks: int = 3
    num_first_tokens: int = 12


FULL = Sizes(rounds=3)
QUICK = Sizes(rounds=1, num_requests=32, num_output=12, num_sequential=3, num_batched_tasks=1, num_first_tokens=4)
